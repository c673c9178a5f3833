/** Begins operations: takes the machine's slot, runs the executor, ends the task. */
import { VmError, type TaskInfo, messageIds } from '@vmpulse/wire';
import { gate } from './gate.ts';
import { settleAgain } from './hypervisor-events.ts';
import type { Machine } from './machine.ts';
import type { TaskOperation } from './machine-service.ts';
import { executors } from './operations.ts';
import { checkAllowed, type Slot } from './slot.ts';
import { errorInfo, type Task, type TaskRequest } from './task.ts';

const verbs: Record<TaskOperation, string> = {
  startup: 'Start',
  turnOff: 'Turn off',
  reset: 'Reset',
  pause: 'Pause',
  resume: 'Resume',
  save: 'Save',
  discardSavedState: 'Discard the saved state of',
  shutdown: 'Shut down the guest of',
  injectNmi: 'Inject an NMI into',
};

const cancelable: readonly TaskOperation[] = ['startup', 'save', 'shutdown'];

/**
 * Begins an operation; its first state event is appended before this returns. Errors: those of `checkAllowed`.
 * turnOff takes the place of a shutdown or startup under way: that one is cancelled first.
 */
export function operate(machine: Machine, operation: TaskOperation, by?: 'autostart'): TaskInfo {
  return begin(machine, operation, by === undefined ? {} : { by }).info;
}

/**
 * As `operate`; rejects with what ends the task, once its events are durable (or not soon). `stillWanted` is asked
 * once more after the first event was written, right before a reset or a turning off: E_ABORT where it says no.
 */
export async function perform(
  machine: Machine,
  operation: TaskOperation,
  stillWanted?: () => boolean,
): Promise<void> {
  const error = await begin(machine, operation, stillWanted === undefined ? {} : { stillWanted }).ended;
  if (error !== null) throw error;
}

function begin(
  machine: Machine,
  operation: TaskOperation,
  circumstances: Pick<TaskRequest, 'by' | 'stillWanted'>,
): { readonly info: TaskInfo; readonly ended: Promise<VmError | null> } {
  checkAllowed(machine, operation);
  const before = machine.slot;
  machine.operationsBegun += 1;
  const task = machine.host.tasks.begin({
    vm: machine.reference,
    operation,
    description: `${verbs[operation]} ${machine.name}`,
    cancelable: cancelable.includes(operation),
    ...circumstances,
  });
  before?.task?.interrupt();
  const work = async (): Promise<void> => {
    if (before !== null) await before.done;
    await executors[operation](machine, task);
  };
  const ended = endTask(machine, operation, task, occupy(machine, operation, task, work));
  return { info: task.info(), ended };
}

/** Runs `work` with the machine's slot taken. Resolves with its error, or null; the slot is free by then. */
export async function occupy(
  machine: Machine,
  operation: Slot['operation'],
  task: Task | null,
  work: () => Promise<void>,
): Promise<VmError | null> {
  const { passed: done, open } = gate();
  const slot: Slot = { operation, task, done };
  machine.slot = slot;
  let failed = true;
  try {
    await work();
    failed = false;
    return null;
  } catch (thrown) {
    const error = VmError.from(thrown);
    if (error.code === 'E_UNEXPECTED') {
      machine.host.logger.error({ err: thrown, vm: machine.reference, operation }, 'a defect of vmpulse');
    }
    return error;
  } finally {
    // Unless turnOff cut in and holds it now.
    if (machine.slot === slot) machine.slot = null;
    open();
    // What it left behind is what QEMU says, not what was before.
    if (failed) settleAgain(machine);
  }
}

/** Tells a failure, and shows the task as ended once its events are durable. Never rejects. */
async function endTask(
  machine: Machine,
  operation: TaskOperation,
  task: Task,
  outcome: Promise<VmError | null>,
): Promise<VmError | null> {
  const error = await outcome;
  const { logger, tasks } = machine.host;
  // A cancelled operation did what it was told.
  if (error !== null && error.code !== 'E_ABORT') {
    logger.warn({ err: error, vm: machine.reference, operation, task: task.id }, 'an operation failed');
    const data = { task: task.id, operation, messageId: messageIds.taskFailed, error: errorInfo(error) };
    machine.append('taskFailed', data);
  }
  // So that one who saw the task end finds its events. A log that cannot be written must not hold it up for long.
  await machine.writtenSoon();
  tasks.end(task, error);
  return error;
}
