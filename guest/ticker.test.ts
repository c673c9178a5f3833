import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants as osConstants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Tick, TickPipe, deadlineMs, elapse } from '../test/support/tick-pipe.ts';

const script = fileURLToPath(new URL('vmpulse-ticker', import.meta.url));
const { signals } = osConstants;
const shells = [['bash'], ['dash'], ['busybox', 'ash']] as const;

function runs(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}

const straceWorks = runs('strace', '-f', '-o', '/dev/null', 'true');

function uptimeMs(): number {
  return Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]) * 1000;
}

function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(child.exitCode);
  return new Promise((resolve) => {
    child.once('exit', resolve);
  });
}

/** Ends it, and what it started: a ticker outlives an strace that is killed. */
function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // All of them have ended.
  }
}

/**
 * Terminates it while it waits for its next tick. Before that, from the write of a tick on, the signal has its
 * usual effect; and bash catches the signal for itself even then, so that its mask alone says nothing.
 */
async function terminate(ticker: ChildProcess): Promise<void> {
  const terminateBit = 1n << BigInt(signals.SIGTERM - 1);
  const isWaiting = (): boolean => {
    const status = readFileSync(`/proc/${ticker.pid}/status`, 'latin1');
    const caught = BigInt(`0x${/^SigCgt:\s*(\w+)/mu.exec(status)?.[1] ?? '0'}`);
    return /^State:\s*S/mu.test(status) && (caught & terminateBit) !== 0n;
  };
  const lateMs = performance.now() + deadlineMs;
  while (!isWaiting() && performance.now() < lateMs) await elapse(1);
  ticker.kill('SIGTERM');
}

for (const shell of shells) {
  const name = shell.join(' ');
  describe.skipIf(!runs(shell[0], ...shell.slice(1), '-c', ':'))(`the ticker under ${name}`, () => {
    let directory: string;
    let port: TickPipe;
    let child: ChildProcess | undefined;

    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), 'vmpulse-ticker-'));
      port = new TickPipe(directory);
    });

    afterEach(async () => {
      if (child !== undefined) {
        killGroup(child);
        await ended(child);
      }
      child = undefined;
      port.close();
      rmSync(directory, { recursive: true });
    });

    /** A ticker that has a minute for its last line, not a second: a busy machine takes its time. */
    function patient(): string {
      const file = join(directory, 'patient-ticker');
      const text = readFileSync(script, 'utf8');
      const changed = text.replace(/^BYE_TIMEOUT_S=1$/mu, 'BYE_TIMEOUT_S=60');
      expect(changed).not.toBe(text);
      writeFileSync(file, changed);
      return file;
    }

    function start(
      args: string[],
      env: Record<string, string> = {},
      { before = [], file = script }: { before?: string[]; file?: string } = {},
    ): ChildProcess {
      const [command = '', ...rest] = [
        ...before,
        ...shell,
        file,
        '-c',
        '/dev/null',
        '-p',
        port.path,
        ...args,
      ];
      child = spawn(command, rest, {
        // Without the variable dash would hand over to bash, and another shell than this would be tested.
        env: { PATH: process.env['PATH'], RUNTIME_DIRECTORY: directory, VMPULSE_SHELL_CHOSEN: '1', ...env },
        stdio: ['ignore', 'ignore', 'pipe'],
        // A group of its own, so that the ticker ends with what runs it.
        detached: true,
      });
      return child;
    }

    test('says hello, then ticks from 0 with the uptime of the machine', async () => {
      port.connect();
      const before = uptimeMs();
      start(['-i', '100', '-n', 'web-1']);
      await port.until(() => port.ticks().length >= 4);
      expect(port.lines[0]?.text).toMatch(
        /^hello v=1 version=\d+\.\d+\.\d+ interval_ms=100 os=[\w.%~-]+ host=web-1$/,
      );
      const ticks = port.ticks();
      expect(ticks.map((tick) => tick.seq)).toEqual(ticks.map((_, index) => index));
      for (const [index, tick] of ticks.entries()) {
        expect(tick.uptimeMs).toBeGreaterThan(ticks[index - 1]?.uptimeMs ?? before - 20);
        expect(tick.uptimeMs).toBeLessThanOrEqual(uptimeMs() + 20);
      }
    });

    test('percent-encodes every byte that is not plain', async () => {
      port.connect();
      start(['-i', '100', '-n', 'bö %=/()\n\t$(id)`~*']);
      await port.until(() => port.ticks().length >= 1);
      const host = / host=(\S*)$/.exec(port.lines[0]?.text ?? '')?.[1] ?? '';
      expect(host).toMatch(/^(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})*$/);
      expect(decodeURIComponent(host)).toBe('bö %=/()\n\t$(id)`~*');
    });

    test('keeps hello within 512 bytes and its escapes whole when the name is absurd', async () => {
      port.connect();
      start(['-i', '60000', '-n', 'ö /'.repeat(400)]);
      await port.until(() => port.ticks().length >= 1);
      const hello = port.lines[0]?.text ?? '';
      expect(hello.length).toBeLessThan(512);
      expect(hello).toMatch(/ host=(?:%C3%B6%20%2F)+(?:%[0-9A-F]{2}){0,3}$/);
    });

    test('keeps its rhythm: lateness of a tick does not move the next', async () => {
      port.connect();
      const ticker = start(['-i', '1000']);
      await port.until(() => port.ticks().length >= 1);
      // The first tick tells the very time from which the others are counted.
      const first = port.ticks()[0]?.uptimeMs ?? 0;
      const sinceFirst = (): number[] => port.ticks().map((tick) => tick.uptimeMs - first);
      ticker.kill('SIGSTOP');
      // Two are due meanwhile, the later one half an interval ago.
      const stoppedMs = uptimeMs() - first;
      const untilMs = Math.floor(stoppedMs / 1000) * 1000 + 2500;
      while (uptimeMs() - first < untilMs) await elapse(10);
      ticker.kill('SIGCONT');
      // The one that was due as it stood still is late, and is not among those.
      const later = (): number[] =>
        sinceFirst()
          .filter((ms) => ms > stoppedMs)
          .slice(1);
      // A busy host makes some late, never one early; each would be late by half a second if the stop had moved it.
      await port.until(() => later().some((ms) => ms % 1000 < 250) || later().length >= 20);
      expect(Math.min(...later().map((ms) => ms % 1000))).toBeLessThan(250);
      const turns = sinceFirst().map((ms) => Math.floor(ms / 1000));
      expect(turns).toEqual([...new Set(turns)]);
    });

    test('says bye and ends when it is terminated', async () => {
      port.connect();
      const env = { VMPULSE_REASON_FILE: join(directory, 'reason') };
      const ticker = start(['-i', '60000'], env, { file: patient() });
      await port.until(() => port.ticks().length >= 1);
      await terminate(ticker);
      await port.until(() => port.lines.at(-1)?.text === 'bye stop');
      expect(await ended(ticker)).toBe(0);
    });

    test.for(['reboot', 'shutdown'])(
      'says bye %s when the stopping script leaves that reason',
      async (reason) => {
        port.connect();
        const file = join(directory, 'reason');
        const ticker = start(['-i', '60000'], { VMPULSE_REASON_FILE: file }, { file: patient() });
        await port.until(() => port.ticks().length >= 1);
        writeFileSync(file, `${reason}\n`);
        await terminate(ticker);
        await port.until(() => port.lines.at(-1)?.text === `bye ${reason}`);
      },
    );

    test.for([
      ['reboot.target', 'reboot'],
      ['poweroff.target', 'shutdown'],
      ['multi-user.target', 'stop'],
    ] as const)('with a systemd job %s says bye %s', async ([target, reason]) => {
      port.connect();
      const systemctl = join(directory, 'systemctl');
      writeFileSync(systemctl, `#!/bin/sh\necho " 12 ${target} start waiting"\n`, { mode: 0o755 });
      const env = { VMPULSE_SYSTEMCTL: systemctl, VMPULSE_REASON_FILE: '/nonexistent' };
      const ticker = start(['-i', '60000'], env, { file: patient() });
      await port.until(() => port.ticks().length >= 1);
      await terminate(ticker);
      await port.until(() => port.lines.at(-1)?.text === `bye ${reason}`);
    });

    test('waits for a host that is not connected, and does not make up for missed ticks', async () => {
      const ticker = start(['-i', '100']);
      const started = uptimeMs();
      // The pipe has no reader yet: opening it blocks, as a port's first write does.
      await elapse(1000);
      expect(ticker.exitCode).toBeNull();
      port.connect();
      await port.until(() => port.ticks().length >= 4);
      expect(port.ticks()[0]?.uptimeMs).toBeGreaterThan(started + 900);
    });

    test('a write that was blocked is followed by a current tick, not by a burst', async () => {
      port.connect();
      start(['-i', '100']);
      await port.until(() => port.ticks().length >= 2);
      await port.clog();
      const clogged = uptimeMs();
      await elapse(1000);
      const resumed = uptimeMs();
      port.unclog();
      const later = (): Tick[] => port.ticks().filter((tick) => tick.uptimeMs >= resumed);
      await port.until(() => later().length >= 3);
      // What stood before the pipe: at most a few lines, not the ten of that second.
      const meanwhile = port.ticks().filter(({ uptimeMs: at }) => at >= clogged && at < resumed);
      expect(meanwhile.length).toBeLessThanOrEqual(2);
      // Two intervals, of which lateness of the first takes no more than one.
      const [first, , third] = later();
      expect((third?.uptimeMs ?? 0) - (first?.uptimeMs ?? 0)).toBeGreaterThan(100);
    });

    test('ends within its bound when the port takes nothing more', async () => {
      port.connect();
      const ticker = start(['-i', '100']);
      await port.until(() => port.ticks().length >= 1);
      await port.clog();
      await elapse(250);
      const asked = performance.now();
      ticker.kill('SIGTERM');
      await ended(ticker);
      expect(performance.now() - asked).toBeLessThan(60_000);
    });

    test('ends when it is terminated before the host has connected', async () => {
      const ticker = start(['-i', '100']);
      await elapse(400);
      const asked = performance.now();
      ticker.kill('SIGTERM');
      await ended(ticker);
      expect(performance.now() - asked).toBeLessThan(60_000);
    });

    test('takes the interval from the configuration file, and a nonsensical one as the default', async () => {
      port.connect();
      const config = join(directory, 'config');
      writeFileSync(config, '# a comment\nINTERVAL_MS="250"\nHOST=from-file\n$(touch /nonexistent)');
      start(['-c', config]);
      await port.until(() => port.ticks().length >= 1);
      expect(port.lines[0]?.text).toMatch(/ interval_ms=250 .* host=from-file$/);
    });

    test.for([
      ['5', '100'],
      ['99999', '60000'],
      ['0500', '500'],
      ['soon', '1000'],
      ['', '1000'],
    ] as const)('an interval of "%s" becomes %s', async ([given, used]) => {
      port.connect();
      start([], { INTERVAL_MS: given });
      await port.until(() => port.ticks().length >= 1);
      expect(port.lines[0]?.text).toContain(` interval_ms=${used} `);
    });

    const still = ['-e', 'inject=?pselect6,?select,?ppoll,?poll:delay_exit=1000000:when=1'];
    test.skipIf(!straceWorks || name === 'dash').each([
      ['ever', []],
      ['though it stood still as it tried how its shell waits', still],
    ])('starts no process for a tick: %s', async (_, inject) => {
      port.connect();
      const trace = join(directory, 'trace');
      /** What was started between its ticks. */
      const started = async (): Promise<string[]> => {
        const calls = 'trace=process,write,?pselect6,?select,?ppoll,?poll';
        const ticker = start(
          ['-i', '100'],
          {},
          { before: ['strace', '-f', '-o', trace, '-e', calls, ...inject] },
        );
        const from = port.ticks().length;
        await port.until(() => port.ticks().length >= from + 8);
        killGroup(ticker);
        await ended(ticker);
        const made = readFileSync(trace, 'latin1').split('\n');
        const at = (text: string): number => made.findIndex((call) => call.includes(text));
        expect(made.some((call) => call.includes('(DELAYED)'))).toBe(inject.length > 0);
        const between = made.slice(at('"tick 0 '), at('"tick 6 '));
        expect(between.length).toBeGreaterThanOrEqual(6);
        return between.filter((call) => /\b(?:clone3?|v?fork|execve)\(/.test(call));
      };
      // One that stands still three times as it tries takes its shell for one that cannot wait.
      let calls = await started();
      for (let tries = 0; tries < 3 && calls.length > 0; tries += 1) calls = await started();
      expect(calls).toEqual([]);
    });
  });
}
