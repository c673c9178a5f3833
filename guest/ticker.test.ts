import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { constants, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants as osConstants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const script = fileURLToPath(new URL('vmpulse-ticker', import.meta.url));
const { signals } = osConstants;
const shells = [['bash'], ['dash'], ['busybox', 'ash']] as const;
const deadlineMs = 120_000;

function runs(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}

const straceWorks = runs('strace', '-f', '-o', '/dev/null', 'true');

/** A tick as it arrived; times in milliseconds, `atMs` on this process's clock. */
interface Tick {
  readonly seq: number;
  readonly uptimeMs: number;
  readonly atMs: number;
}

/** The host's end of a port (a named pipe here): the lines that arrived, and a way to await one. */
class Port {
  readonly path: string;
  readonly lines: { readonly text: string; readonly atMs: number }[] = [];
  readonly #wakers = new Set<() => void>();
  #socket: Socket | undefined;
  #fd = -1;
  #partial = '';

  constructor(directory: string) {
    this.path = join(directory, 'port');
    execFileSync('mkfifo', [this.path]);
  }

  /** Connects the host's side. It is opened for writing too, so that it outlives every ticker. */
  connect(): void {
    this.#fd = openSync(this.path, constants.O_RDWR | constants.O_NONBLOCK);
    this.#socket = new Socket({ fd: this.#fd, readable: true, writable: false });
    this.#socket.setEncoding('latin1');
    this.#socket.on('data', (text: string) => {
      const parts = (this.#partial + text).split('\n');
      this.#partial = parts.pop() ?? '';
      for (const part of parts) this.lines.push({ text: part, atMs: performance.now() });
      for (const wake of this.#wakers) wake();
    });
  }

  /** Stops reading and fills the pipe: the next write of the ticker blocks. */
  async clog(): Promise<void> {
    this.#socket?.pause();
    const filler = Buffer.alloc(4096, '\n');
    // A paused stream still takes a pipeful into its own buffer, so once is not enough.
    for (let round = 0; round < 4; round += 1) {
      try {
        for (;;) writeSync(this.#fd, filler);
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
      }
      await elapse(10);
    }
  }

  unclog(): void {
    this.#socket?.resume();
  }

  close(): void {
    this.#socket?.destroy();
  }

  ticks(): Tick[] {
    return this.lines.flatMap(({ text, atMs }) => {
      const match = /^tick (\d+) (\d+)$/.exec(text);
      return match ? [{ seq: Number(match[1]), uptimeMs: Number(match[2]), atMs }] : [];
    });
  }

  /** Resolves when `holds` does; rejects at the deadline with what has arrived. */
  async until(holds: () => boolean): Promise<void> {
    if (holds()) return;
    await new Promise<void>((resolve, reject) => {
      const check = (): void => {
        if (!holds()) return;
        clearTimeout(timer);
        this.#wakers.delete(check);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#wakers.delete(check);
        reject(new Error(`not within ${deadlineMs} ms; arrived: ${JSON.stringify(this.lines)}`));
      }, deadlineMs);
      this.#wakers.add(check);
    });
  }
}

function uptimeMs(): number {
  return Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]) * 1000;
}

/** Lets time pass where its passing is what is tested. */
function elapse(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
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
    let port: Port;
    let child: ChildProcess | undefined;

    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), 'vmpulse-ticker-'));
      port = new Port(directory);
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

    test.skipIf(!straceWorks || name === 'dash')('starts no process for a tick', async () => {
      port.connect();
      const trace = join(directory, 'trace');
      /** What was started between its ticks. */
      const started = async (): Promise<string[]> => {
        const before = ['strace', '-f', '-o', trace, '-e', 'trace=process,write'];
        const ticker = start(['-i', '100'], {}, { before });
        const from = port.ticks().length;
        await port.until(() => port.ticks().length >= from + 8);
        killGroup(ticker);
        await ended(ticker);
        const calls = readFileSync(trace, 'latin1').split('\n');
        const at = (text: string): number => calls.findIndex((call) => call.includes(text));
        const between = calls.slice(at('"tick 0 '), at('"tick 6 '));
        expect(between.length).toBeGreaterThanOrEqual(6);
        return between.filter((call) => /\b(?:clone3?|v?fork|execve)\(/.test(call));
      };
      // One that stood still for a second as it tried how its shell waits takes this for one that cannot.
      let calls = await started();
      for (let tries = 0; tries < 9 && calls.length > 0; tries += 1) calls = await started();
      expect(calls).toEqual([]);
    });
  });
}
