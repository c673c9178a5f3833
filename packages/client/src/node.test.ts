import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import { ScriptedServer } from '../../../test/support/scripted-server.ts';
import { connect, connectToDataDirectory, readToken } from './node.ts';

let directory: string;
let scripted: ScriptedServer;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-client-'));
  scripted = await ScriptedServer.start({ path: join(directory, 'vmpulse.sock') });
  scripted.addVm('web-1');
});

afterEach(async () => {
  await scripted.stop();
  await rm(directory, { recursive: true });
});

describe('a Unix socket', () => {
  it('carries requests, answers without a body, errors and event streams', async () => {
    const server = await connectToDataDirectory(directory);
    expect(server.address).toBe(`unix:${directory}/vmpulse.sock`);
    const names: string[] = [];
    await server.advise({ onHeartbeatStopped: (name) => void names.push(name) }).ready;
    await scripted.streaming();
    scripted.stopGuest();
    await eventually('the event', () => names.length === 1);
    const vm = await server.createVirtualMachine({ name: 'naïve ☃', notes: 'ü'.repeat(100_000) });
    expect((await server.findVirtualMachine('NAÏVE ☃')).info.notes).toHaveLength(100_000);
    await vm.delete();
    await expect(vm.refresh()).rejects.toMatchObject({ code: 'VM_E_VM_UNKNOWN' });
    await scripted.stop();
    scripted.stopGuest();
    await scripted.listen();
    await eventually('the event after the restart', () => names.length === 2);
    await server.close();
  });

  it('where nobody listens says what to do', async () => {
    await expect(connect(`unix:${directory}/nothing.sock`)).rejects.toMatchObject({
      code: 'VMPULSE_E_UNREACHABLE',
      message: expect.stringMatching(/nothing\.sock.*ENOENT.*vmpulse serve/u) as string,
    });
  });

  it('has the deadlines of TCP, for answers that stop half-way too', async () => {
    const server = await connect(`unix:${directory}/vmpulse.sock`);
    const asked: string[] = [];
    scripted.answerNext(/server/u, ({ url = '' }, response) => {
      asked.push(url);
      response.writeHead(200).write('{');
    });
    // On a busy machine the deadline may come before the question has arrived.
    while (asked.length === 0)
      await expect(server.info({ timeoutMs: 50 })).rejects.toMatchObject({ code: 'VM_E_TIMED_OUT' });
    scripted.answerNext(/server/u, (_request, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('{');
      setImmediate(() => response.destroy());
    });
    await expect(server.info()).rejects.toMatchObject({ code: 'VMPULSE_E_UNREACHABLE' });
    scripted.answerNext(
      /server/u,
      (_request, response) => void response.writeHead(302, { location: '/x' }).end(),
    );
    await expect(server.info()).rejects.toMatchObject({ code: 'VMPULSE_E_UNREACHABLE' });
    await server.close();
  });
});

describe('a token file', () => {
  it('is read and sent', async () => {
    scripted.token = 'secret';
    await writeFile(join(directory, 'token'), 'secret\n');
    const server = await connectToDataDirectory(directory, { tokenFile: join(directory, 'token') });
    await server.close();
    await expect(connectToDataDirectory(directory)).rejects.toMatchObject({
      code: 'VMPULSE_E_UNAUTHENTICATED',
    });
  });

  it('that is missing or no token is refused by name', async () => {
    const file = join(directory, 'token');
    await expect(readToken(file)).rejects.toMatchObject({ code: 'E_FILE_NOT_FOUND' });
    await writeFile(file, 'two words');
    await expect(readToken(file)).rejects.toMatchObject({
      code: 'E_INVALIDARG',
      message: expect.stringContaining(file) as string,
    });
    await chmod(file, 0o600);
  });
});

it.each(['over a Unix socket', 'over TCP'])('a script ends by itself after close(), %s', async (how) => {
  const tcp = await ScriptedServer.start();
  const entry = fileURLToPath(new URL('./node.ts', import.meta.url));
  const wire = new URL('../../wire/src/index.ts', import.meta.url).href;
  const script = `
    import { registerHooks } from 'node:module';
    registerHooks({
      resolve: (specifier, context, next) =>
        specifier === '@vmpulse/wire' ? { url: ${JSON.stringify(wire)}, shortCircuit: true } : next(specifier, context),
    });
    const { connect } = await import(${JSON.stringify(entry)});
    const server = await connect(${JSON.stringify(how === 'over TCP' ? tcp.url : scripted.url)});
    const connection = server.advise({});
    await connection.ready;
    await server.virtualMachines();
    await server.close();
    await connection.closed;
    process.stdout.write('closed');
  `;
  /** How long it took from its last word to its end. */
  const lastsMs = async (): Promise<number> => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.on('data', (chunk) => (output += String(chunk)));
    child.stderr.on('data', (chunk) => (output += String(chunk)));
    const closed = once(child, 'close');
    let closedAt = Infinity;
    child.stdout.once('data', () => (closedAt = performance.now()));
    const code = await new Promise((resolve) => {
      child.once('exit', resolve);
    });
    const tookMs = performance.now() - closedAt;
    await closed;
    expect([code, output]).toEqual([0, 'closed']);
    return tookMs;
  };
  // A busy machine lets it stand still now and then; what keeps it from ending does so each time.
  let tookMs = await lastsMs();
  for (let tries = 0; tries < 9 && tookMs >= 1_000; tries += 1) tookMs = await lastsMs();
  await tcp.stop();
  expect(tookMs).toBeLessThan(1_000);
});
