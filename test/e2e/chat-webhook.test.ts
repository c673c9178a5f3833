import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { VmEvent } from '@vmpulse/client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { answering, Endpoint } from '../support/endpoint.ts';
import { Program } from '../support/program.ts';
import { RealService, patienceMs } from '../support/real-service.ts';

const script = fileURLToPath(new URL('../../examples/chat-webhook/chat-webhook.mjs', import.meta.url));
/** All that a machine may be named and a shell, a chat or JSON could take for something else. */
const hostile = `it's $(touch pwned) \`id\` ; & %s {"text"} @channel \u202e🐎\u2028ünï 👩‍💻`.replaceAll(
  '"',
  '“',
);

let chat: Endpoint;
let directory: string;
let urlFile: string;
const secret = 'T000-B000-secret';

beforeEach(async () => {
  chat = await Endpoint.start();
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-chat-'));
  urlFile = join(directory, 'url');
  await writeFile(urlFile, `${chat.url}/${secret}\n`, { mode: 0o600 });
});
afterEach(async () => {
  await chat.stop();
  await rm(directory, { recursive: true, force: true });
});

const texts = (): string[] => chat.received.map(({ body }) => (JSON.parse(body) as { text: string }).text);
/** What a chat shows of it. */
const shown = (text: string): string =>
  text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&').replaceAll('\u200b', '');

describe('attached to an event', () => {
  let service: RealService;
  beforeAll(async () => {
    service = await RealService.start();
    await service.server.changeScriptSettings({ vsScriptsEnabled: true });
  });
  afterAll(() => service.dispose());

  const attach = (...args: string[]): Promise<unknown> =>
    service.server.attachScriptToEvent('heartbeatStopped', [process.execPath, script, ...args]);

  /** A machine whose QEMU is killed, and how the script on that ended. */
  async function stopOne(name: string): Promise<VmEvent<'scriptEnded'>['data']> {
    const vm = await service.server.createVirtualMachine({ name, memoryMiB: 64 });
    await (await vm.startup()).waitForCompletion(patienceMs);
    process.kill(await service.pidOf(vm), 'SIGKILL');
    const event = await service.heard.wait(vm.name, 'scriptEnded');
    await service.server.removeScriptFromEvent('heartbeatStopped');
    return event.data as VmEvent<'scriptEnded'>['data'];
  }

  test('it tells the chat, whatever the machine is named', async () => {
    await attach(urlFile);
    expect(await stopOne(hostile)).toMatchObject({ outcome: 'ok', exitStatus: 0, output: '' });
    expect(texts()).toHaveLength(1);
    const [text = ''] = texts();
    const asShown = hostile.replace('\u202e', '').replace('\u2028', ' ');
    expect(shown(text)).toContain(`:rotating_light: ${asShown} has stopped running (exited) [event `);
    expect(text).not.toContain('@channel');
    expect(chat.received[0]?.headers['content-type']).toBe('application/json');
  });

  test('a chat that is down makes it fail in time, and the service tells so without the secret', async () => {
    await chat.stop();
    await attach(urlFile, '5');
    const ended = await stopOne('web-1');
    expect(ended).toMatchObject({ outcome: 'failed', exitStatus: 1, detail: '' });
    expect(ended.output).toMatch(/^(the chat could not be reached: ECONNREFUSED\n)+$/u);
    expect(ended.durationMs).toBeLessThan(55_000);
    expect(JSON.stringify(ended)).not.toContain(secret);
    chat = await Endpoint.start();
  });
});

describe('by itself', () => {
  const vm = { id: 'x', name: 'web-1' };
  const event = { type: 'io.vmpulse.visibilityLost', seq: 7, time: '2026-01-01T00:00:00.000Z' };
  const run = (args: string[], data: object = { vm, reason: 'stuck' }): Program =>
    new Program(process.execPath, [script, ...args], { input: JSON.stringify({ ...event, data }) });

  test('quotes, line breaks and markup of anybody arrive as text', async () => {
    const reason = `"a\\b"\r\n\u0000c\u2028 <!channel> &amp; <http://x|y> '\`$(id)\` @here 💥`;
    expect(await run([urlFile], { vm, reason }).ended()).toBe(0);
    const line = `"a\\b" c  <!channel> &amp; <http://x|y> '\`$(id)\` @here 💥`;
    expect(shown(texts()[0] ?? '')).toBe(
      `:warning: web-1 cannot be judged: ${line} [event 7, 2026-01-01T00:00:00.000Z]`,
    );
    expect(texts()[0]).toContain('&lt;!channel&gt;');
  });

  test('it tries again where that can help', async () => {
    chat.script = (received, response, request) => {
      const { length } = chat.received;
      if (length === 2) request.socket.destroy();
      else answering(length === 1 ? 503 : 200)(received, response, request);
    };
    const program = run([urlFile]);
    expect(await program.ended()).toBe(0);
    expect(new Set(texts()).size).toBe(1);
    expect(program.output).toBe('the chat answered 503: ok\nthe chat could not be reached: UND_ERR_SOCKET\n');
    expect(chat.received).toHaveLength(3);
  });

  test.each([
    ['refuses it', answering(404, {}, 'no_team')],
    ['sends it elsewhere', answering(302, { location: '/elsewhere' }, 'no_team')],
  ])('a chat that %s is asked once', async (_, answer) => {
    chat.script = answer;
    const program = run([urlFile]);
    expect(await program.ended()).toBe(1);
    expect(program.output).toMatch(/^the chat answered (404|302): no_team\n$/u);
    expect(chat.received).toHaveLength(1);
  });

  test('a chat that never answers is given up at the deadline', async () => {
    chat.script = () => undefined;
    const program = run([urlFile, '0.5']);
    expect(await program.ended()).toBe(1);
    expect(program.output).toBe('the chat could not be reached: TimeoutError\n');
  });

  test('a file that everyone may read, is missing or holds no URL is refused, and not shown', async () => {
    expect(await run([]).ended()).toBe(64);
    expect(await run([join(directory, 'none')]).ended()).toBe(78);
    await chmod(urlFile, 0o644);
    const open = run([urlFile]);
    expect(await open.ended()).toBe(78);
    expect(open.output).toBe(`${urlFile} is open to everyone: chmod 0600 it\n`);
    await chmod(urlFile, 0o600);
    for (const text of [secret, `file:///${secret}`, '']) {
      await writeFile(urlFile, text);
      const program = run([urlFile]);
      expect(await program.ended()).toBe(78);
      expect(program.output).toBe(`${urlFile} holds no http:// or https:// URL\n`);
    }
    expect(chat.received).toEqual([]);
  });
});
