import { toCloudEvent, type VirtualMachine, type VmEvent } from '@vmpulse/client';
import { expect, test } from 'vitest';
import { LiveScreen } from './demo-screen.ts';

function machine(name: string, verdict: string, percentage: number | null): VirtualMachine {
  const guest = { verdict, heartbeatPercentage: percentage, lastTickAgoMs: percentage === null ? null : 412 };
  return { name, state: 'running', info: { guest } } as unknown as VirtualMachine;
}

function screen(isTTY: boolean): { screen: LiveScreen; written: () => string } {
  let text = '';
  const out = {
    isTTY,
    columns: 80,
    write: (chunk: string) => {
      text += chunk;
      return true;
    },
  };
  return { screen: new LiveScreen(out), written: () => text };
}

const stopped: VmEvent = toCloudEvent(
  {
    type: 'turnedOffByGuest',
    vm: { id: 'i', name: 'demo-1' },
    timeMs: 0,
    data: { reason: 'guest-shutdown' },
  },
  7,
  'server',
);

test('a terminal has the table drawn over, and events above it', () => {
  const { screen: it, written } = screen(true);
  it.table([machine('demo-1', 'notObserved', null)]);
  it.table([machine('demo-1', 'alive', 100)]);
  expect(written()).toContain('booting');
  expect(written()).toContain('\u001B[2A\u001B[0J');
  expect(written()).toContain('100 %');
  it.event(stopped);
  const parts = written().split('\u001B[0J');
  expect(parts.at(-1)).toMatch(/#7 {2}demo-1.*\nmachine/su);
});

test('where nothing can be redrawn, a line is written only when a state or verdict changed', () => {
  const { screen: it, written } = screen(false);
  it.table([machine('demo-1', 'alive', 98)]);
  it.table([machine('demo-1', 'alive', 100)]);
  it.table([machine('demo-1', 'hung', 90)]);
  expect(written()).toBe('[demo-1 running alive]\n[demo-1 running hung]\n');
});
