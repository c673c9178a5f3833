/** Writing a machine's state with QEMU's migration, and reading it back. */
import { VmError } from '@vmpulse/wire';
import type { Clock } from '../../clock.ts';
import { saveCancelTimeoutMs, saveFinishTimeoutMs, saveProgressMs, saveTimeoutMs } from '../../limits.ts';
import type { Progress } from '../hypervisor.ts';
import type { QmpLink } from './qmp-link.ts';
import { asObject } from './qmp.ts';
import type { SavedState } from './saved-state.ts';

/** Bytes per second; QEMU's default of 128 MiB/s is meant for networks. */
const bandwidth = 2 ** 40;

interface MigrationInfo {
  readonly status: string;
  readonly percent: number;
  readonly error: string;
}

/**
 * Lets the paused guest's state be written; resolves when the writer has all of it. Errors: E_ABORT,
 * VMPULSE_E_HYPERVISOR, VM_E_TIMED_OUT; QEMU may then be writing still, until endTransfer().
 */
export async function writeState(
  link: QmpLink,
  state: SavedState,
  clock: Clock,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  await link.execute('migrate-set-parameters', { 'max-bandwidth': bandwidth });
  await state.begin();
  await link.execute('migrate', { uri: `exec:${state.writeCommand}` });
  let deadlineMs = clock.monotonicMs() + saveTimeoutMs;
  let completed = false;
  for (;;) {
    const info = await migrationInfo(link);
    if (info.status === 'failed' || info.status === 'cancelled') throw failed(info.error);
    if (info.status === 'completed') {
      if (await state.isWritten()) return;
      // QEMU is through before its writer is; a writer that failed says so by never finishing.
      if (completed && clock.monotonicMs() > deadlineMs) throw failed('the writer ended early');
      if (!completed) deadlineMs = clock.monotonicMs() + saveFinishTimeoutMs;
      completed = true;
    }
    progress(Math.min(99, info.percent));
    if (signal.aborted) throw new VmError('E_ABORT', 'Saving was cancelled; the guest goes on.');
    if (clock.monotonicMs() > deadlineMs) {
      throw new VmError('VM_E_TIMED_OUT', 'Saving took too long; the guest goes on. Is the disk very slow?');
    }
    await clock.sleep(saveProgressMs, signal);
  }
}

function failed(words: string): VmError {
  const said = words === '' ? '' : ` QEMU said: ${words}.`;
  return new VmError(
    'VMPULSE_E_HYPERVISOR',
    `The machine's state could not be written; the guest goes on.${said} Is the disk full?`,
  );
}

/** What QEMU's query-migrate says while a state goes out or comes in. */
const ongoing: readonly string[] = [
  'setup',
  'active',
  'pre-switchover',
  'device',
  'cancelling',
  'wait-unplug',
  'postcopy-active',
  'postcopy-paused',
  'postcopy-recover-setup',
  'postcopy-recover',
];

/** Does a migration of that status still go on? */
export function isOngoing(status: string): boolean {
  return ongoing.includes(status);
}

/** Status of the last migration, `none` where there was none. Errors: those of the link. */
export async function migrationStatus(link: QmpLink): Promise<string> {
  return (await migrationInfo(link)).status;
}

/** Is a state being written or read right now? Errors: those of the link. */
export async function isTransferring(link: QmpLink): Promise<boolean> {
  return isOngoing(await migrationStatus(link));
}

/**
 * Cancels a writing of the state that is under way, and resolves when QEMU does no more of it: a guest that runs
 * before that is stopped again by its completion. One question that fails says nothing; it is asked again.
 * Errors: VM_E_TIMED_OUT when it does not end, VMPULSE_E_HYPERVISOR when the link was closed.
 */
export async function endTransfer(link: QmpLink, clock: Clock): Promise<void> {
  const deadlineMs = clock.monotonicMs() + saveCancelTimeoutMs;
  while (clock.monotonicMs() < deadlineMs) {
    const status = await migrationStatus(link).catch(() => null);
    if (status !== null && !isOngoing(status)) return;
    if (link.closed) throw new VmError('VMPULSE_E_HYPERVISOR', 'The machine is not observed any more.');
    if (status !== null && status !== 'cancelling')
      await link.execute('migrate_cancel').catch(() => undefined);
    await clock.sleep(saveProgressMs / 10);
  }
  throw new VmError(
    'VM_E_TIMED_OUT',
    'QEMU does not end writing the state of the machine; turn it off, or try again.',
  );
}

/**
 * Lets a QEMU that was started with `-incoming defer` read the saved state; resolves when it has all of it.
 * Errors: those of the link; a state QEMU cannot read ends its process, which the caller sees.
 */
export async function readState(
  link: QmpLink,
  state: SavedState,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  await link.execute('migrate-incoming', { uri: `exec:${state.readCommand}` });
  await untilRead(link, clock, saveTimeoutMs, signal);
}

/**
 * Resolves when QEMU has read the state that it is reading. A QEMU that does not read within `idleTimeoutMs` waits
 * for a state that nobody gives it. Errors: VMPULSE_E_HYPERVISOR then, VM_E_TIMED_OUT, E_ABORT, those of the link.
 */
export async function untilRead(
  link: QmpLink,
  clock: Clock,
  idleTimeoutMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const startMs = clock.monotonicMs();
  let reading = false;
  while ((await link.runState()) === 'restoring') {
    reading ||= await isTransferring(link);
    const tookMs = clock.monotonicMs() - startMs;
    if (signal?.aborted === true)
      throw new VmError('E_ABORT', 'Restoring was cancelled; the saved state is kept.');
    if (tookMs > saveTimeoutMs) {
      throw new VmError(
        'VM_E_TIMED_OUT',
        'Restoring took too long; the saved state is kept. Is the disk very slow?',
      );
    }
    if (!reading && tookMs > idleTimeoutMs) {
      const text =
        'QEMU waits for a saved state that nobody gives it; turn the machine off and start it again.';
      throw new VmError('VMPULSE_E_HYPERVISOR', text);
    }
    await clock.sleep(saveProgressMs / 10, signal);
  }
}

async function migrationInfo(link: QmpLink): Promise<MigrationInfo> {
  const info = asObject(await link.execute('query-migrate')) ?? {};
  const ram = asObject(info['ram']);
  const [total, remaining] = [ram?.['total'], ram?.['remaining']];
  const known = typeof total === 'number' && typeof remaining === 'number' && total > 0;
  return {
    status: typeof info['status'] === 'string' ? info['status'] : 'none',
    percent: known ? Math.max(0, Math.round((100 * (total - remaining)) / total)) : 0,
    error: typeof info['error-desc'] === 'string' ? info['error-desc'] : '',
  };
}
