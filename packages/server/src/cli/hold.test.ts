import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ScriptedServer } from '../../../../test/support/scripted-server.ts';
import { ScriptedTerminal } from '../../../../test/support/scripted-terminal.ts';
import { parseHoldLength } from './hold.ts';
import { runProgram } from './program.ts';

let directory: string;
let scripted: ScriptedServer;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-cli-'));
  scripted = await ScriptedServer.start({ path: join(directory, 'vmpulse.sock') });
  scripted.addVm('web-1', { state: 'running' });
});

afterEach(async () => {
  await scripted.stop();
  await rm(directory, { recursive: true });
});

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const terminal = new ScriptedTerminal({ VMPULSE_DATA: directory }, directory);
  const code = await runProgram(args, terminal, '1.2.3', () => Promise.resolve([]));
  return { code, out: terminal.output, err: terminal.errors };
}

const until = '2023-11-14T22:43:20.000Z';

describe('vmpulse hold', () => {
  it('holds a machine, which vm show then tells, until it is released', async () => {
    expect(await run('hold', 'WEB-1', '--for', '30m', '--reason', 'kernel upgrade')).toEqual({
      code: 0,
      out: `'web-1' is held until ${until}: kernel upgrade`,
      err: '',
    });
    expect(scripted.bodies.at(-1)).toEqual({ seconds: 1_800, reason: 'kernel upgrade' });
    expect((await run('vm', 'show', 'web-1')).out).toMatch(
      new RegExp(`^held +until ${until}: kernel upgrade$`, 'mu'),
    );
    expect(await run('release', 'web-1')).toEqual({ code: 0, out: "'web-1' is released", err: '' });
    expect((await run('vm', 'show', 'web-1')).out).not.toMatch(/^held/mu);
  });

  it('holds all, and a machine released from its own hold is said to be held with all others', async () => {
    await run('hold', 'web-1', '--for', '1s', '--reason', 'mine');
    const { out } = await run('hold', '--all', '--for', '30m', '--reason', 'upgrade');
    expect(out).toBe(`all watches are held until ${until}: upgrade`);
    expect((await run('release', 'web-1')).out).toBe(
      `'web-1' is released, but held until ${until} with all others: upgrade`,
    );
    expect((await run('release', '--all')).out).toBe('the hold on all watches is over');
  });

  it('answers as JSON', async () => {
    const held = await run('hold', 'web-1', '--for', '30m', '--reason', 'r', '--json');
    expect(JSON.parse(held.out)).toMatchObject({ scope: 'vm', vm: { name: 'web-1' }, until });
    expect(JSON.parse((await run('holds', '--json')).out)).toMatchObject([{ reason: 'r' }]);
    expect(JSON.parse((await run('release', 'web-1', '--json')).out)).toEqual({
      released: 'web-1',
      hold: null,
    });
  });

  it.each([
    [['hold', '--for', '1m', '--reason', 'r'], 2, '--all'],
    [['hold', 'web-1', '--all', '--for', '1m', '--reason', 'r'], 2, '--all'],
    [['hold', 'web-1', '--reason', 'r'], 2, '--for'],
    [['hold', 'web-1', '--for', '1m'], 2, '--reason'],
    [['hold', 'web-1', '--for', '30', '--reason', 'r'], 2, 'with its unit'],
    [['hold', 'web1', '--for', '1m', '--reason', 'r'], 3, "did you mean 'web-1'"],
    [['release'], 2, '--all'],
    [['release', 'web-1'], 3, 'no such hold'],
  ])('%j ends with exit code %i and says why', async (args, code, why) => {
    const result = await run(...args);
    expect(result.code).toBe(code);
    expect(result.err).toContain(why);
  });
});

describe('vmpulse holds', () => {
  it('lists what is held, until when and why', async () => {
    expect((await run('holds')).out).toBe('No holds.');
    await run('hold', '--all', '--for', '30m', '--reason', 'upgrade');
    await run('hold', 'web-1', '--for', '30m', '--reason', 'backup \u{1b}[2J');
    const lines = (await run('holds')).out.split('\n');
    expect(lines[0]).toMatch(/^MACHINE +UNTIL +SINCE +REASON$/u);
    expect(lines[1]).toMatch(new RegExp(`^\\(all\\) +${until} .* upgrade$`, 'u'));
    expect(lines[2]).toMatch(/^web-1 .* backup \\u\{1b\}\[2J$/u);
  });
});

describe('the length of a hold', () => {
  it.each([
    ['90s', 90],
    ['30m', 1_800],
    ['1h30m', 5_400],
    ['1.5h', 5_400],
    ['2d', 172_800],
  ])('%s is %i seconds', (text, seconds) => {
    expect(parseHoldLength(text)).toBe(seconds);
  });

  it.each(['', '30', 'm', '1 h', '-1m', '1w', '1h30', 'h1', '1e3s', '1m!'])('cannot be %j', (text) => {
    expect(() => parseHoldLength(text)).toThrow(/with its unit/u);
  });
});
