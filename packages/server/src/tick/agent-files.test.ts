import { join } from 'node:path';
import { VmError } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../../../../test/contract/tick-source.ts';
import { socketFolder } from '../../../../test/support/guest-port.ts';
import { ScriptedAgent } from '../../../../test/support/scripted-agent.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { GuestAgent } from './guest-agent.ts';

let folder: ReturnType<typeof socketFolder>;
let port: ScriptedAgent;
let clock: SimulatedClock;
let agent: GuestAgent;

beforeEach(async () => {
  folder = socketFolder();
  port = new ScriptedAgent(join(folder.path, 'agent.sock'));
  await port.open();
  clock = new SimulatedClock();
  agent = new GuestAgent(clock, port.path);
});

afterEach(async () => {
  agent.close();
  await port.close();
  folder.remove();
});

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const refuse = (description: string) => () =>
  `${JSON.stringify({ error: { class: 'GenericError', desc: description } })}\n`;
const argumentsOf = (execute: string): unknown =>
  port.seen.findLast((command) => command.execute === execute)?.arguments;

async function failure(promise: Promise<unknown>): Promise<string> {
  return VmError.from(
    await promise.then(
      () => new Error('it did not fail'),
      (thrown: unknown) => thrown,
    ),
  ).code;
}

describe('files of a guest', () => {
  beforeEach(() => {
    port.answer('guest-file-open', 7);
    port.answer('guest-file-close', {});
  });

  it('are written whole, and closed', async () => {
    port.answer('guest-file-write', { count: 4, eof: false });
    await agent.writeFile('/run/a', Buffer.from('ü\0x'));
    expect(argumentsOf('guest-file-open')).toEqual({ path: '/run/a', mode: 'w' });
    expect(argumentsOf('guest-file-write')).toEqual({ handle: 7, 'buf-b64': base64('ü\0x') });
    expect(argumentsOf('guest-file-close')).toEqual({ handle: 7 });
  });

  it('that were written in part, or could not be closed, fail', async () => {
    port.answer('guest-file-write', { count: 3, eof: false });
    expect(await failure(agent.writeFile('/run/a', Buffer.from('abcd')))).toBe('E_FAIL');
    expect(port.commands.at(-1)).toBe('guest-file-close');
    port.answer('guest-file-write', { count: 4 });
    port.script.set('guest-file-close', refuse('No space left on device'));
    expect(await failure(agent.writeFile('/run/a', Buffer.from('abcd')))).toBe('E_FAIL');
  });

  it('are read up to a bound', async () => {
    port.answer('guest-file-read', { count: 5, 'buf-b64': base64('abcde'), eof: true });
    expect(Buffer.from((await agent.readFile('/run/a', 5)) ?? []).toString()).toBe('abcde');
    expect(argumentsOf('guest-file-open')).toEqual({ path: '/run/a', mode: 'r' });
    expect(argumentsOf('guest-file-read')).toEqual({ handle: 7, count: 6 });
    expect(await failure(agent.readFile('/run/a', 4))).toBe('E_BUFFER_OVERFLOW');
    expect(port.commands.at(-1)).toBe('guest-file-close');
  });

  it('that are not there are null; what cannot be opened otherwise fails', async () => {
    port.script.set(
      'guest-file-open',
      refuse("failed to open file '/run/a' (mode: 'r'): No such file or directory"),
    );
    expect(await agent.readFile('/run/a', 5)).toBeNull();
    expect(await failure(agent.writeFile('/run/a', Buffer.from('a')))).toBe('E_FAIL');
    port.script.set('guest-file-open', refuse('Permission denied'));
    expect(await failure(agent.readFile('/run/a', 5))).toBe('E_FAIL');
  });

  it('answers that make no sense are no content', async () => {
    port.answer('guest-file-read', { count: 5 });
    expect(await failure(agent.readFile('/run/a', 5))).toBe('VM_E_ADDITIONS_NOT_AVAIL');
    port.answer('guest-file-open', 'seven');
    expect(await failure(agent.readFile('/run/a', 5))).toBe('VM_E_ADDITIONS_NOT_AVAIL');
  });
});

describe('file systems of a guest', () => {
  it('are frozen and thawed, each with how many', async () => {
    port.answer('guest-fsfreeze-freeze', 2);
    port.answer('guest-fsfreeze-thaw', 2);
    expect(await agent.freeze(1_000)).toBe(2);
    expect(await agent.thaw(1_000)).toBe(2);
    port.answer('guest-fsfreeze-thaw', 'all');
    expect(await failure(agent.thaw(1_000))).toBe('VM_E_ADDITIONS_NOT_AVAIL');
  });
});

describe('a ping beside another command', () => {
  it('that is a ping itself shows silence: nothing keeps the agent busy', async () => {
    port.answer('guest-get-host-name', { 'host-name': 'a' });
    await agent.hostName();
    const long = agent.ping(10_000);
    await until(() => port.commands.at(-1) === 'guest-ping');
    expect(agent.busy).toBe(false);
    const short = agent.ping(50);
    clock.advance(50);
    expect(await short).toEqual({ answered: false, reason: 'silent' });
    clock.advance(10_000);
    expect((await long).answered).toBe(false);
  });

  it('of an operator says nothing while that is out, and is answered by its answer', async () => {
    const freezing = agent.freeze(20_000);
    await until(() => port.commands.at(-1) === 'guest-fsfreeze-freeze');
    expect(agent.busy).toBe(true);
    const short = agent.ping(50);
    clock.advance(50);
    expect(await short).toEqual({ answered: false, reason: 'busy' });
    const long = agent.ping(1_000);
    port.write('{"return": 1}\n');
    expect(await freezing).toBe(1);
    expect(await long).toMatchObject({ answered: true });
    expect(port.commands).toEqual(['guest-fsfreeze-freeze']);
  });

  it('waits until operators had their turn', async () => {
    port.answer('guest-get-host-name', { 'host-name': 'a' });
    await agent.hostName();
    const ping = agent.ping(10_000);
    await until(() => port.commands.at(-1) === 'guest-ping');
    const [second, shutdown] = [agent.ping(10_000), agent.hostName()];
    port.answer('guest-ping', {});
    port.write('{"return": {}}\n');
    await Promise.all([ping, second, shutdown]);
    expect(port.commands).toEqual(['guest-get-host-name', 'guest-ping', 'guest-get-host-name']);
  });
});
