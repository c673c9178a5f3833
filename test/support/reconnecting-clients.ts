/** Set-up of the tests of the client's feeds: a scripted server with two machines, and clients that come back soon. */
import { afterEach, beforeEach, vi } from 'vitest';
import { type ConnectOptions, VirtualServer } from '../../packages/client/src/index.ts';
import { ScriptedServer } from './scripted-server.ts';

/** Registers it; `started` gets each test's server. Answers how a client is connected; it is closed after the test. */
export function reconnectingClients(
  started: (server: ScriptedServer) => void,
): (options?: ConnectOptions) => Promise<VirtualServer> {
  const servers: VirtualServer[] = [];
  let scripted: ScriptedServer;
  beforeEach(async () => {
    scripted = await ScriptedServer.start();
    scripted.addVm('web-1', { state: 'running' });
    scripted.addVm('db-1', { state: 'running' });
    started(scripted);
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.close();
    await scripted.stop();
    vi.restoreAllMocks();
  });
  return async (options = {}) => {
    const reconnect = { minDelayMs: 10, maxDelayMs: 50 };
    const server = await VirtualServer.connect(scripted.url, { reconnect, ...options });
    servers.push(server);
    return server;
  };
}
