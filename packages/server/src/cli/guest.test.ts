import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type GuestExecutionResult, VmError } from '@vmpulse/client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ScriptedServer } from '../../../../test/support/scripted-server.ts';
import { ScriptedTerminal } from '../../../../test/support/scripted-terminal.ts';
import { runProgram } from './program.ts';

let directory: string;
let scripted: ScriptedServer;
let terminal: ScriptedTerminal;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-cli-'));
  scripted = await ScriptedServer.start({ path: join(directory, 'vmpulse.sock') });
  terminal = new ScriptedTerminal({ VMPULSE_DATA: directory }, directory);
  scripted.addVm('web-1', { guest: { osName: 'Debian\u001b[2J', source: 'agent', fileSystems: 'thawed' } });
});

afterEach(async () => {
  await scripted.stop();
  await rm(directory, { recursive: true });
});

const run = (...args: string[]): Promise<number> =>
  runProgram(['guest', ...args], terminal, '1.2.3', () => Promise.resolve([]));

function answer(body: unknown): void {
  scripted.answerNext(/\/guest\//u, (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
}

const asked = (): unknown => [
  scripted.requests.at(-1)?.replace(/\/v1\/vms\/[^/]+/u, ''),
  scripted.bodies.at(-1),
];
const bytes = (chunks: readonly Uint8Array[]): string => Buffer.concat(chunks).toString('latin1');

describe('vmpulse guest exec', () => {
  const ended: GuestExecutionResult = {
    exitCode: 0,
    signal: null,
    stdout: { text: 'a\tb\n\u001b[2Jc\r\n', base64: null },
    stderr: { text: '\ufffd!', base64: '/yE=' },
    truncated: false,
    durationMs: 5,
  };

  it('hands the program over as it is, and passes on what it wrote, byte by byte', async () => {
    answer(ended);
    expect(await run('exec', '--timeout', '1.5', 'web-1', '--', '/bin/df', '-h', '--json')).toBe(0);
    expect(asked()).toEqual([
      'POST /guest/execute',
      { path: '/bin/df', args: ['-h', '--json'], timeoutMs: 1_500 },
    ]);
    expect(bytes(terminal.rawOut)).toBe('a\tb\n\u001b[2Jc\r\n');
    expect(bytes(terminal.rawErr)).toBe('\u00ff!');
    expect(terminal.output + terminal.errors).toBe('');
  });

  it('shows on a terminal nothing that would steer it', async () => {
    terminal.isTty = true;
    terminal.isErrTty = true;
    answer(ended);
    expect(await run('exec', 'web-1', 'df')).toBe(0);
    expect(bytes(terminal.rawOut)).toBe('a\tb\n\\u{1b}[2Jc\n');
    expect(Buffer.concat(terminal.rawErr).toString()).toBe('\ufffd!');
  });

  it.each([
    [{ exitCode: 3 }, 3, ''],
    [{ exitCode: null, signal: 9 }, 137, 'vmpulse: The program was ended by signal 9.'],
    [{ truncated: true }, 0, 'vmpulse: the output was cut off'],
  ])('of a program that ended with %j ends with %i', async (change, code, said) => {
    answer({ ...ended, ...change });
    expect(await run('exec', 'web-1', 'x')).toBe(code);
    expect(terminal.errors).toBe(said);
  });

  it('with --json tells all of it, and the exit code all the same', async () => {
    answer({ ...ended, exitCode: 3 });
    expect(await run('exec', '--json', 'web-1', 'x')).toBe(3);
    expect(JSON.parse(terminal.output)).toEqual({ ...ended, exitCode: 3 });
    expect(terminal.output).not.toContain('\u001b');
    expect(terminal.errors).toBe('');
  });

  it('gives it the file that is named as its input', async () => {
    await writeFile(join(directory, 'in.txt'), 'eins\nzwei');
    answer(ended);
    expect(await run('exec', 'web-1', '--input', 'in.txt', 'cat')).toBe(0);
    expect(asked()).toMatchObject(['POST /guest/execute', { input: 'eins\nzwei' }]);
    terminal.stdin = 'piped';
    answer(ended);
    expect(await run('exec', 'web-1', '--input', '-', 'cat')).toBe(0);
    expect(asked()).toMatchObject(['POST /guest/execute', { input: 'piped' }]);
    expect(await run('exec', 'web-1', '--input', 'none.txt', 'cat')).toBe(3);
    expect(terminal.errors).toContain('none.txt cannot be read');
  });

  it.each([
    [['exec', 'web-1'], 2],
    [['exec', 'web-1', '--timeout', '61', 'x'], 2],
    [['exec', 'web-1', 'ls', '-l'], 2],
    [['exec', 'web-2', 'ls'], 3],
  ])('%j ends with %i', async (args, code) => {
    expect(await run(...args)).toBe(code);
    expect(terminal.errors).not.toBe('');
  });

  it.each([
    ['VM_E_TIMED_OUT', 7],
    ['VM_E_VM_PAUSED', 4],
    ['E_INVALIDARG', 2],
  ] as const)('that is refused with %s says so and ends with %i', async (code, exitCode) => {
    scripted.refuseNext(/\/guest\/execute/u, new VmError(code, 'so it is'));
    expect(await run('exec', 'web-1', 'x')).toBe(exitCode);
    expect(terminal.errors).toBe('vmpulse: so it is');
  });
});

describe('vmpulse guest', () => {
  it('show tells what is known, and nothing that would steer the terminal', async () => {
    expect(await run('show', 'web-1')).toBe(0);
    expect(terminal.output).toContain('heartbeat by   the guest agent');
    expect(terminal.output).toContain('system         Debian\\u{1b}[2J');
    expect(terminal.output).toContain('file systems   thawed');
    expect(await run('show', '--json', 'web-1')).toBe(0);
    expect(terminal.outLines.at(-1)).toContain('"source": "agent"');
  });

  it('get and set a parameter', async () => {
    answer({ name: 'role', value: 'a\u001b[2J' });
    expect(await run('get', 'web-1', 'role')).toBe(0);
    expect(terminal.output).toBe('a\u001b[2J');
    terminal.isTty = true;
    answer({ name: 'role', value: 'a\u001b[2J' });
    await run('get', 'web-1', 'role');
    expect(terminal.outLines.at(-1)).toBe('a\\u{1b}[2J');
    answer({ name: 'role', value: 'b' });
    expect(await run('set', 'web-1', 'role', 'b')).toBe(0);
    expect(asked()).toEqual(['PUT /guest/parameters/role', { value: 'b' }]);
    expect(terminal.outLines.at(-1)).toBe("set 'role' in the guest of 'web-1'");
  });

  it('freeze says when it ends by itself, thaw how many it thawed', async () => {
    answer({ fileSystems: 2 });
    expect(await run('freeze', 'web-1', '--for', '30')).toBe(0);
    expect(asked()).toEqual(['POST /guest/freeze', { timeoutMs: 30_000 }]);
    expect(terminal.output).toContain("froze 2 of 'web-1'; thawed in 30 s at the latest");
    answer({ fileSystems: 0 });
    await run('freeze', 'web-1');
    expect(asked()).toEqual(['POST /guest/freeze', { timeoutMs: 60_000 }]);
    expect(terminal.outLines.at(-1)).toContain('no file system that can be frozen');
    answer({ fileSystems: 2 });
    expect(await run('thaw', 'web-1')).toBe(0);
    expect(terminal.outLines.at(-1)).toBe("thawed 2 of 'web-1'");
    expect(await run('freeze', 'web-1', '--for', '601')).toBe(2);
  });

  it('shows an example in the help of every command', async () => {
    for (const verb of ['show', 'exec', 'get', 'set', 'freeze', 'thaw']) {
      expect(await run(verb, '--help')).toBe(0);
      expect(terminal.outLines.at(-1)).toContain(`Example:\n  vmpulse guest ${verb}`);
    }
  });
});
