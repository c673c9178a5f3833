import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../../../../test/support/eventually.ts';
import { ScriptedServer } from '../../../../test/support/scripted-server.ts';
import { ScriptedTerminal } from '../../../../test/support/scripted-terminal.ts';
import { runProgram } from './program.ts';
import { renderStatus } from './status.ts';

let directory: string;
let scripted: ScriptedServer;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-cli-'));
  scripted = await ScriptedServer.start({ path: join(directory, 'vmpulse.sock') });
});

afterEach(async () => {
  await scripted.stop();
  await rm(directory, { recursive: true });
});

function begin(...args: string[]): { terminal: ScriptedTerminal; code: Promise<number> } {
  const terminal = new ScriptedTerminal({}, directory);
  const code = runProgram([...args, '--data', directory], terminal, '1.2.3', () => Promise.resolve([]));
  return { terminal, code };
}

describe('vmpulse status', () => {
  it('tells the server, the counts and each machine', async () => {
    scripted.addVm('web-10');
    scripted.addVm('web-9', {
      state: 'running',
      pid: 4711,
      task: 't1',
      guest: { verdict: 'alive', heartbeatPercentage: 99.6, lastTickAgoMs: 312.4, isHeartbeating: true },
    });
    scripted.addVm('db', {
      state: 'running',
      guest: { verdict: 'hung', stoppedSeq: 12, lastTickAgoMs: 95_000 },
    });
    const { terminal, code } = begin('status');
    expect(await code).toBe(0);
    expect(terminal.output.split('\n')).toEqual(
      [
        'vmpulse 0.1.0 on host-1: up 1 d 2 h, event 0, QEMU 7.2.0, accelerator tcg (/dev/kvm cannot run a guest here)',
        '3 machines: 1 turnedOff, 2 running',
        '',
        'NAME    STATE      HEART     LAST TICK  VERDICT           PID  TASK',
        'db      running        -  1 min 35 s ago  hung (event 12)     -  -',
        'web-9   running    100 %      312 ms ago  alive            4711  t1',
        'web-10  turnedOff      -               -  notObserved         -  -',
      ].map((text) =>
        text.startsWith('NAME')
          ? (expect.stringMatching(/^NAME +STATE +HEART +LAST TICK +VERDICT +PID +TASK$/u) as string)
          : text,
      ),
    );
  });

  it('shows which machines are held, until when and why, where any is', () => {
    const free = scripted.addVm('web-1', { state: 'running' });
    expect(renderStatus(scripted.info(), [free], false)).not.toContain('HELD');
    const hold = { scope: 'vm', reason: 'upgrade', since: '-', until: '2024-01-01T01:00:00.000Z' } as const;
    const held = scripted.addVm('db', { state: 'running', guest: { hold } });
    const lines = renderStatus(scripted.info(), [free, held], false).split('\n');
    expect(lines[3]).toMatch(/ HELD$/u);
    expect(lines[4]).toMatch(/ -$/u);
    expect(lines[5]).toMatch(/ until 2024-01-01T01:00:00.000Z: upgrade$/u);
  });

  it('says of a machine that it was paused for want of disk space', () => {
    const vm = scripted.addVm('db', { state: 'paused', pausedFor: 'diskSpace' });
    expect(renderStatus(scripted.info(), [vm], false)).toContain('paused (disk full)');
  });

  it('says how to begin when there is no machine', () => {
    expect(renderStatus(scripted.info(), [], false)).toContain('0 machines. Create one: vmpulse vm create');
  });

  it('has bounded columns and shows nothing that steers a terminal', () => {
    const vm = scripted.addVm(`${'long '.repeat(60)}\u001b[2J`, { state: 'running' });
    const text = renderStatus({ ...scripted.info(), version: '1\u0007' }, [vm], false);
    expect(text.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
    for (const line of text.split('\n').slice(2)) expect(line.length).toBeLessThan(160);
  });

  it('colors a stopped machine red where colors are wanted', () => {
    const vm = scripted.addVm('db', { state: 'running', guest: { verdict: 'hung', stoppedSeq: 3 } });
    expect(renderStatus(scripted.info(), [vm], true)).toContain('\u001b[31mhung (event 3)\u001b[0m');
    expect(renderStatus(scripted.info(), [vm], false)).not.toContain('\u001b');
  });

  it('is JSON for scripts', async () => {
    scripted.addVm('web-1');
    const { terminal, code } = begin('status', '--json');
    expect(await code).toBe(0);
    expect(JSON.parse(terminal.output)).toMatchObject({
      server: { id: scripted.id },
      vms: [{ name: 'web-1' }],
    });
  });

  it('--watch goes on until Ctrl-C', async () => {
    const { terminal, code } = begin('status', '--watch', '--interval', '0.1');
    await eventually('three rounds', () => terminal.outLines.length >= 3);
    terminal.interrupt();
    expect(await code).toBe(130);
    expect(terminal.errLines).toEqual([]);
  });
});

describe('vmpulse events', () => {
  it('shows what is kept, filtered', async () => {
    const web = scripted.addVm('web-1', { state: 'running' });
    scripted.addVm('db');
    scripted.stopGuest('web-1');
    scripted.stopGuest('db');
    scripted.emit('heartbeatResumed', { outageMs: 1_000, stoppedSeq: 1 }, web);
    const all = begin('events');
    expect(await all.code).toBe(0);
    expect(all.terminal.outLines.map((line) => line.split('  ')[1])).toEqual(['#1', '#2', '#3']);
    const some = begin('events', '--vm', 'WEB-1', '--after', '1', '--type', 'heartbeatresumed', '--json');
    expect(await some.code).toBe(0);
    expect(some.terminal.outLines.map((line) => (JSON.parse(line) as { seq: number }).seq)).toEqual([3]);
    const typo = begin('events', '--vm', 'web1');
    expect(await typo.code).toBe(3);
    expect(typo.terminal.errors).toContain("did you mean 'web-1'?");
  });

  it('--last shows the newest, of those that fit, and goes on from there with --follow', async () => {
    const web = scripted.addVm('web-1', { state: 'running' });
    const other = scripted.addVm('db', { state: 'running' });
    for (const vm of [web, web, other, other]) scripted.emit('additionsResumed', { outageMs: 1 }, vm);
    const numbers = (lines: string[]): (string | undefined)[] => lines.map((line) => line.split('  ')[1]);
    const last = begin('events', '--last', '1');
    expect(await last.code).toBe(0);
    expect(numbers(last.terminal.outLines)).toEqual(['#4']);
    const filtered = begin('events', '--last', '1', '--vm', 'web-1', '--type', 'additionsResumed');
    expect(await filtered.code).toBe(0);
    expect(numbers(filtered.terminal.outLines)).toEqual(['#2']);
    const { terminal, code } = begin('events', '--last', '2', '--follow');
    await scripted.streaming();
    scripted.stopGuest();
    await eventually('the event', () => terminal.outLines.length === 3);
    expect(numbers(terminal.outLines)).toEqual(['#3', '#4', '#5']);
    terminal.interrupt();
    expect(await code).toBe(130);
    for (const wrong of ['0', '-1', 'x', '10001'])
      expect(await begin('events', '--last', wrong).code).toBe(2);
  });

  it('--follow tells events as they come, over a restart of the server, until Ctrl-C', async () => {
    scripted.addVm('web-1', { state: 'running' });
    scripted.stopGuest();
    const { terminal, code } = begin('events', '--follow');
    await scripted.streaming();
    scripted.stopGuest();
    await eventually('the event', () => terminal.outLines.length === 1);
    expect(terminal.outLines[0]).toContain('#2  web-1  HAS STOPPED (hung)');
    await scripted.stop();
    scripted.stopGuest();
    await scripted.listen();
    await eventually('the event of meanwhile', () => terminal.outLines.length === 2);
    expect(terminal.errLines).toEqual([
      expect.stringContaining('nothing is lost'),
      'vmpulse: connected again',
    ]);
    terminal.interrupt();
    expect(await code).toBe(130);
  });

  it('says what is no longer kept', async () => {
    scripted.addVm('web-1');
    for (let i = 0; i < 4; i += 1) scripted.stopGuest();
    scripted.oldestSeq = 3;
    scripted.log = scripted.log.slice(2);
    const { terminal, code } = begin('events', '--follow', '--after', '0');
    await eventually('the rest', () => terminal.outLines.length === 2);
    terminal.interrupt();
    expect(await code).toBe(130);
    expect(terminal.errLines).toEqual([
      'vmpulse: events 1 to 2 are no longer kept; going on with the oldest there is',
    ]);
  });
});
