import { describe, expect, it } from 'vitest';
import { hypervisorEvent, runStateOf } from './qmp-event.ts';

const table: [name: string, data: Record<string, unknown>, event: Record<string, unknown> | null][] = [
  ['GUEST_PANICKED', { action: 'pause' }, { kind: 'panicked', action: 'pause', detail: null }],
  [
    'GUEST_PANICKED',
    { action: 'pause', info: { type: 'hyper-v', arg1: 1 } },
    { kind: 'panicked', action: 'pause', detail: '{"type":"hyper-v","arg1":1}' },
  ],
  ['GUEST_PANICKED', {}, null],
  ['GUEST_CRASHLOADED', { action: 'run' }, { kind: 'crashLoaded' }],
  [
    'SHUTDOWN',
    { guest: true, reason: 'guest-shutdown' },
    { kind: 'shutdown', byGuest: true, reason: 'guest-shutdown' },
  ],
  ['SHUTDOWN', { guest: 'true', reason: 'guest-shutdown' }, null],
  ['SHUTDOWN', { guest: false }, { kind: 'shutdown', byGuest: false, reason: 'unknown' }],
  ['RESET', { guest: true, reason: 'guest-reset' }, { kind: 'reset', byGuest: true, reason: 'guest-reset' }],
  ['RESET', { guest: true, reason: 'a <b>\n' }, { kind: 'reset', byGuest: true, reason: 'unknown' }],
  ['POWERDOWN', {}, { kind: 'powerButton' }],
  ['WATCHDOG', { action: 'reset' }, { kind: 'watchdog', action: 'reset' }],
  ['WATCHDOG', { action: 7 }, null],
  ['STOP', {}, { kind: 'stopped' }],
  ['RESUME', {}, { kind: 'resumed' }],
  ['SUSPEND', {}, { kind: 'suspended' }],
  ['SUSPEND_DISK', {}, { kind: 'hibernated' }],
  ['WAKEUP', {}, { kind: 'wakeup' }],
  [
    'BLOCK_IO_ERROR',
    { device: '', 'node-name': 'disk0', action: 'stop', operation: 'write' },
    { kind: 'ioError', device: 'disk0', action: 'stop' },
  ],
  [
    'MEMORY_FAILURE',
    { recipient: 'guest', action: 'inject', flags: {} },
    { kind: 'memoryFailure', recipient: 'guest', action: 'inject' },
  ],
  ['MEMORY_FAILURE', { recipient: 'guest' }, null],
  ['VSERPORT_CHANGE', { id: 'heartbeat', open: true }, { kind: 'port', port: 'heartbeat', open: true }],
  ['VSERPORT_CHANGE', { id: 'agent', open: false }, { kind: 'port', port: 'agent', open: false }],
  ['VSERPORT_CHANGE', { id: 'other', open: false }, null],
  ['VSERPORT_CHANGE', { id: 'agent', open: 1 }, null],
  ['RTC_CHANGE', { offset: 1 }, null],
  ['constructor', {}, null],
  ['__proto__', {}, null],
];

describe('hypervisorEvent', () => {
  it.each(table)('makes of %s %j: %j', (name, data, event) => {
    expect(hypervisorEvent(name, data, 7)).toEqual(event === null ? null : { atMs: 7, ...event });
  });

  it('keeps a panic detail short', () => {
    const event = hypervisorEvent('GUEST_PANICKED', { action: 'pause', info: 'x'.repeat(10_000) }, 0);
    expect(event).toMatchObject({ detail: expect.stringMatching(/^.{500}$/) as unknown });
  });
});

describe('runStateOf', () => {
  it.each([
    ['running', 'running'],
    ['guest-panicked', 'panicked'],
    ['postmigrate', 'saving'],
    ['inmigrate', 'restoring'],
    ['prelaunch', 'preparing'],
    ['io-error', 'ioError'],
    ['toString', 'other'],
    [5, 'other'],
  ])('takes %j for %s', (status, state) => {
    expect(runStateOf({ status })).toBe(state);
  });

  it('takes what is no answer for other', () => {
    expect(runStateOf(null)).toBe('other');
    expect(runStateOf([])).toBe('other');
  });
});
