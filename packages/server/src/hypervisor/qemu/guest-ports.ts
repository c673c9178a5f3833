/** Which virtio-serial ports the guest holds open, as QEMU knows it. Source: QEMU's qapi/char.json, query-chardev. */
import type { GuestPorts } from '../hypervisor.ts';
import { asObject } from './qmp.ts';

/** Of an answer to `query-chardev`; undefined where one of them cannot be told. */
export function guestPortsOf(answer: unknown): GuestPorts | undefined {
  const heartbeat = openOf(answer, 'heartbeat');
  const agent = openOf(answer, 'agent');
  return heartbeat === undefined || agent === undefined ? undefined : { heartbeat, agent };
}

function openOf(answer: unknown, label: string): boolean | undefined {
  if (!Array.isArray(answer)) return undefined;
  const device = (answer as unknown[]).map(asObject).find((each) => each?.['label'] === label);
  const open = device?.['frontend-open'];
  return typeof open === 'boolean' ? open : undefined;
}
