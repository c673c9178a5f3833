/** Commands on the monitor that QEMU keeps for operators, behind the back of the service that has the other one. */
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const answerTimeoutMs = 10_000;

/** Runs commands one after the other on a machine's monitor; answers what the last of them returned. */
export async function runQmp(
  directory: string,
  ...commands: readonly { execute: string; arguments?: object }[]
): Promise<unknown> {
  const socket = connect(join(directory, 'operator.sock'));
  const deadline = setTimeout(() => socket.destroy(new Error('QMP did not answer')), answerTimeoutMs);
  try {
    const waiting = [{ execute: 'qmp_capabilities' }, ...commands];
    let returned: unknown;
    for await (const line of createInterface({ input: socket })) {
      const message = JSON.parse(line) as Record<string, unknown>;
      if ('error' in message) throw new Error(`QMP: ${JSON.stringify(message['error'])}`);
      if (!('QMP' in message) && !('return' in message)) continue;
      returned = message['return'];
      const next = waiting.shift();
      if (next === undefined) return returned;
      socket.write(`${JSON.stringify(next)}\n`);
    }
    throw new Error('QEMU closed its monitor');
  } finally {
    clearTimeout(deadline);
    socket.destroy();
  }
}
