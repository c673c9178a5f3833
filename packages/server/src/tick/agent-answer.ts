/** What a guest agent answers, checked, and the errors that its failures are told as. */
import { VmError } from '@vmpulse/wire';
import { printable } from './hello.ts';

/** An answer of the agent's protocol. */
export type AgentAnswer =
  | { readonly kind: 'return'; readonly value: unknown }
  | { readonly kind: 'error'; readonly errorClass: string; readonly description: string };

/** Reads one line; anything that is not the agent's protocol is null. */
export function parseAnswer(line: string): AgentAnswer | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  const fields = record(value);
  if (fields === null) return null;
  if ('return' in fields) return { kind: 'return', value: fields['return'] };
  const error = record(fields['error']);
  if (error === null) return null;
  const { class: errorClass, desc } = error;
  return {
    kind: 'error',
    errorClass: typeof errorClass === 'string' ? errorClass : '',
    description: typeof desc === 'string' ? desc : '',
  };
}

/** `value` as an object with string keys, or null when it is something else. */
export function record(value: unknown): Record<string, unknown> | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  return value as Record<string, unknown>;
}

/** VM_E_ADDITIONS_NOT_AVAIL: the agent can not be spoken to, and why. */
export function notAvailable(why: string): VmError {
  const advice = 'Check that the guest has started and runs qemu-guest-agent, then try again.';
  return new VmError('VM_E_ADDITIONS_NOT_AVAIL', `${why} ${advice}`);
}

/** VM_E_ADDITIONS_NOT_AVAIL: what came is no answer to `command`. */
export function nonsense(command: string): VmError {
  const detail = `The guest agent answered ${command} with something that is no answer. Update the guest's agent.`;
  return new VmError('VM_E_ADDITIONS_NOT_AVAIL', detail);
}

/** What the agent says went wrong with `command`: VM_E_ADDITIONS_FEATURE_NOT_AVAIL or E_FAIL, in printable words. */
export function refused(command: string, answer: AgentAnswer & { kind: 'error' }): VmError {
  const words = printable(answer.description.slice(0, 200)) ?? 'no reason given';
  if (answer.errorClass === 'CommandNotFound' || /not currently supported|has been disabled/.test(words)) {
    return new VmError(
      'VM_E_ADDITIONS_FEATURE_NOT_AVAIL',
      `The guest agent does not offer ${command} (${words}). Update it, or allow the command in its configuration.`,
    );
  }
  return new VmError('E_FAIL', `The guest agent could not do ${command}: ${words}`);
}
