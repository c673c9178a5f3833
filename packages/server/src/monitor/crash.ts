/** What the hypervisor tells of a guest that crashed, and what that means for its watch. */
import type { HypervisorEvent } from '../hypervisor/hypervisor.ts';
import type { Guest } from './guest.ts';
import type { Teller } from './teller.ts';

type Crash = Extract<HypervisorEvent, { kind: 'panicked' | 'watchdog' | 'tripleFault' | 'crashLoaded' }>;

const crashKinds: readonly HypervisorEvent['kind'][] = ['panicked', 'watchdog', 'tripleFault', 'crashLoaded'];

/** Is it one of a crash? */
export function isCrash(event: HypervisorEvent): event is Crash {
  return crashKinds.includes(event.kind);
}

/** One event of a crash. What the guest sent before it is no sign of life after it. */
export function crash(guest: Guest, teller: Teller, event: Crash): void {
  switch (event.kind) {
    case 'panicked': {
      guest.trust.untilDrained(guest.backlogged);
      const circumstances = event.detail === null ? {} : { detail: event.detail };
      teller.stopped('panicked', 'guestPanicked', event.atMs, circumstances);
      break;
    }
    case 'watchdog':
      guest.trust.untilDrained(guest.backlogged);
      teller.stopped('watchdog', 'watchdog', event.atMs, { detail: `action ${event.action}` });
      break;
    case 'tripleFault':
      onTripleFault(guest, teller, event.atMs);
      break;
    case 'crashLoaded':
      openDump(guest);
      break;
  }
}

/** A guest that crashed has stopped. It is told once its dump is written, so that nobody resets it before. */
export function endDump(guest: Guest, teller: Teller, atMs: number): void {
  const { phase } = guest;
  const crashed =
    (phase.is === 'window' && phase.kind === 'dump') ||
    (phase.is === 'suspected' && phase.cause === 'guestPanicked');
  if (crashed)
    teller.stopped('panicked', 'guestPanicked', atMs, { detail: 'it wrote its own crash dump first' });
}

/**
 * A kernel that died so badly that its processor gave up; the reset with which QEMU answers follows. It is also how
 * some kernels reboot when nothing else works: one that said so, or of which no tick was heard, did not stop.
 */
function onTripleFault(guest: Guest, teller: Teller, atMs: number): void {
  const { phase } = guest;
  const rebooting = phase.is === 'window' && phase.kind === 'shutdown';
  if (!guest.started || rebooting) return;
  guest.trust.untilDrained(guest.backlogged);
  teller.stopped('tripleFault', 'tripleFault', atMs, {});
}

function openDump(guest: Guest): void {
  const { nowMs, policy } = guest;
  guest.enter({ is: 'window', kind: 'dump', openedMs: nowMs, untilMs: nowMs + policy.bootWindowMaxMs });
  guest.onMemoryChanged();
}
