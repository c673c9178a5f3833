/**
 * QMP's events and run states in the port's words. Guests cause events and QEMU is not trusted: what has not exactly
 * the expected shape is ignored. Source: QEMU's qapi/run-state.json, char.json, block-core.json.
 */
import type { HypervisorEvent, RunState } from '../hypervisor.ts';
import { asObject } from './qmp.ts';

type Untimed<E> = E extends unknown ? Omit<E, 'atMs'> : never;

/** An event before its time of receipt is added. */
type UntimedEvent = Untimed<HypervisorEvent>;

type Data = Record<string, unknown>;

const parsers: Record<string, (data: Data) => UntimedEvent | null> = {
  GUEST_PANICKED: (data) => {
    const action = word(data['action']);
    return action === null ? null : { kind: 'panicked', action, detail: panicDetail(data['info']) };
  },
  GUEST_CRASHLOADED: () => ({ kind: 'crashLoaded' }),
  SHUTDOWN: (data) => byWhom('shutdown', data),
  RESET: (data) => byWhom('reset', data),
  POWERDOWN: () => ({ kind: 'powerButton' }),
  WATCHDOG: (data) => {
    const action = word(data['action']);
    return action === null ? null : { kind: 'watchdog', action };
  },
  STOP: () => ({ kind: 'stopped' }),
  RESUME: () => ({ kind: 'resumed' }),
  SUSPEND_DISK: () => ({ kind: 'hibernated' }),
  SUSPEND: () => ({ kind: 'suspended' }),
  WAKEUP: () => ({ kind: 'wakeup' }),
  BLOCK_IO_ERROR: (data) => {
    const action = word(data['action']);
    const device = word(data['node-name']) ?? word(data['device']);
    return action === null ? null : { kind: 'ioError', device: device ?? '', action };
  },
  MEMORY_FAILURE: (data) => {
    const recipient = word(data['recipient']);
    const action = word(data['action']);
    return recipient === null || action === null ? null : { kind: 'memoryFailure', recipient, action };
  },
  VSERPORT_CHANGE: (data) => {
    const { id, open } = data;
    if (typeof open !== 'boolean' || (id !== 'heartbeat' && id !== 'agent')) return null;
    return { kind: 'port', port: id, open };
  },
};

/** The port's event for a QMP event, null for one that tells nothing here. */
export function hypervisorEvent(name: string, data: Data, atMs: number): HypervisorEvent | null {
  const event = Object.hasOwn(parsers, name) ? parsers[name]?.(data) : undefined;
  return event === undefined || event === null ? null : { atMs, ...event };
}

const runStates: Record<string, RunState> = {
  running: 'running',
  paused: 'paused',
  'save-vm': 'saving',
  'finish-migrate': 'saving',
  postmigrate: 'saving',
  inmigrate: 'restoring',
  'restore-vm': 'restoring',
  shutdown: 'shutdown',
  'guest-panicked': 'panicked',
  'internal-error': 'internalError',
  'io-error': 'ioError',
  watchdog: 'watchdog',
  suspended: 'suspended',
  prelaunch: 'preparing',
};

/** The port's run state for what `query-status` returned. */
export function runStateOf(status: unknown): RunState {
  const name = asObject(status)?.['status'];
  return typeof name === 'string' && Object.hasOwn(runStates, name) ? (runStates[name] ?? 'other') : 'other';
}

function byWhom(kind: 'shutdown' | 'reset', data: Data): UntimedEvent | null {
  const { guest } = data;
  if (typeof guest !== 'boolean') return null;
  return { kind, byGuest: guest, reason: word(data['reason']) ?? 'unknown' };
}

/** QMP's enumerations and device names: short words of plain characters. */
function word(value: unknown): string | null {
  return typeof value === 'string' && /^[\w./-]{1,64}$/.test(value) ? value : null;
}

/** Hyper-V and s390 guests tell more about their panic; it is kept as it came, bounded. */
function panicDetail(info: unknown): string | null {
  return info === undefined ? null : JSON.stringify(info).slice(0, 500);
}
