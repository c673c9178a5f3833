/** What tests of the guest agent's client do around each: a scripted agent on a socket, and a client of it. */
import { join } from 'node:path';
import type { ErrorCode } from '@vmpulse/wire';
import { afterEach, beforeEach } from 'vitest';
import { type Clock, SystemClock } from '../../packages/server/src/clock.ts';
import { GuestAgent } from '../../packages/server/src/tick/guest-agent.ts';
import { socketFolder } from './guest-port.ts';
import { ScriptedAgent } from './scripted-agent.ts';

/** Registers it; `started` gets each test's agent and client, on the system's clock. `use` makes one on another. */
export function agentOnSocket(started: (port: ScriptedAgent, agent: GuestAgent) => void): {
  use: (clock: Clock) => GuestAgent;
} {
  let folder: ReturnType<typeof socketFolder>;
  let port: ScriptedAgent;
  let agent: GuestAgent;
  const use = (clock: Clock): GuestAgent => {
    agent = new GuestAgent(clock, port.path);
    started(port, agent);
    return agent;
  };
  beforeEach(async () => {
    folder = socketFolder();
    port = new ScriptedAgent(join(folder.path, 'agent.sock'));
    await port.open();
    use(new SystemClock());
  });
  afterEach(async () => {
    agent.close();
    await port.close();
    folder.remove();
  });
  return { use };
}

/** The code with which it fails; throws when it does not. */
export async function failure(promise: Promise<unknown>): Promise<ErrorCode> {
  const error: unknown = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  return (error as { code: ErrorCode }).code;
}
