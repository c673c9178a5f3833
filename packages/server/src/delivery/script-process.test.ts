import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../../../../test/support/eventually.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { type Clock, SystemClock } from '../clock.ts';
import { type ScriptResult, type ScriptRun, runScript } from './script-process.ts';

const clock = new SystemClock();
/** For what is to come by itself: a busy machine takes its time. */
const patienceMs = 120_000;
let directory: string;
let over: AbortController;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-script-'));
  over = new AbortController();
});

afterEach(async () => {
  over.abort();
  await rm(directory, { recursive: true });
});

function run(
  command: readonly string[],
  options: Partial<ScriptRun> = {},
  time: Clock = clock,
): Promise<ScriptResult> {
  return runScript(time, {
    command,
    directory,
    environment: { PATH: '/usr/bin:/bin' },
    input: '{"seq":1}\n',
    timeoutMs: patienceMs,
    termMs: 200,
    signal: new AbortController().signal,
    ...options,
  });
}

const sh = (script: string, options: Partial<ScriptRun> = {}, time: Clock = clock): Promise<ScriptResult> =>
  run(['/bin/sh', '-c', script], options, time);

/** Is there such a process, and is it more than a zombie? */
function lives(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/u.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** A clock on which no time passes before the script wrote `file`, and then less than half as much as passes. */
function clockFrom(file: string): Clock {
  const time = new SimulatedClock();
  const path = join(directory, file);
  const goOn = async (): Promise<void> => {
    const isThere = (): boolean => existsSync(path) && statSync(path).size > 0;
    for (; !over.signal.aborted; await clock.sleep(25)) if (isThere()) await time.advanceAsync(10);
  };
  void goOn();
  return time;
}

/** One that was killed is gone as soon as it has its turn. */
async function gone(file: string): Promise<void> {
  const pid = await pidIn(file);
  await eventually('its end', () => !lives(pid));
}

const pidIn = async (file: string): Promise<number> => Number(await readFile(join(directory, file), 'utf8'));

test('a script gets the event on its input, its environment alone and its own directory', async () => {
  const result = await sh('cat; pwd; env | sort', {
    environment: { VMPULSE_SEQ: '1', PATH: '/usr/bin:/bin' },
  });
  expect(result).toMatchObject({ outcome: 'ok', exitStatus: 0, signal: null, detail: '' });
  expect(result.output).toBe(
    `{"seq":1}\n${directory}\nPATH=/usr/bin:/bin\nPWD=${directory}\nVMPULSE_SEQ=1\n`,
  );
});

test('arguments are no shell words', async () => {
  expect((await run(['/bin/echo', '$HOME; *', 'a b'])).output).toBe('$HOME; * a b\n');
});

test('one that exits non-zero has failed, with its status and what it wrote on both streams', async () => {
  expect(await sh('echo out; echo err >&2; exit 3')).toMatchObject({
    outcome: 'failed',
    exitStatus: 3,
    signal: null,
    output: expect.stringMatching(/^(out\nerr|err\nout)\n$/u) as string,
  });
});

test('one that ends by a signal has failed, and the signal is told', async () => {
  expect(await sh('kill -SEGV $$')).toMatchObject({ outcome: 'failed', exitStatus: null, signal: 'SIGSEGV' });
});

test('one that is missing, or is not executable is not started, and why is said', async () => {
  const plain = join(directory, 'plain');
  await writeFile(plain, '#!/bin/sh\nexit 0\n');
  const orphan = join(directory, 'orphan');
  await writeFile(orphan, '#!/no/such/shell\n');
  await chmod(orphan, 0o755);
  for (const [command, why] of [
    [join(directory, 'nowhere'), /no file/u],
    [plain, /not executable/u],
    [orphan, /interpreter/u],
    [directory, /not executable/u],
  ] as const) {
    const result = await run([command]);
    expect([command, result.outcome, result.exitStatus]).toEqual([command, 'notStarted', null]);
    expect(result.detail).toMatch(why);
  }
});

test('one that closes its input or never reads it is as good as any', async () => {
  const input = 'x'.repeat(4 * 1024 * 1024);
  expect(await sh('exec <&-; sleep 0.1; echo done', { input })).toMatchObject({
    outcome: 'ok',
    output: 'done\n',
  });
  expect(await sh('exit 0', { input })).toMatchObject({ outcome: 'ok' });
});

test('one that is late is told to end, and may say so', async () => {
  const result = await sh(
    "trap 'echo bye; exit 9' TERM; echo > ready; while :; do sleep 0.02; done",
    { timeoutMs: 200, termMs: patienceMs },
    clockFrom('ready'),
  );
  expect(result).toMatchObject({ outcome: 'timedOut', exitStatus: 9 });
  expect(result.output).toMatch(/bye\n$/u);
  expect(result.detail).toContain('longer than 0.2 s');
});

test('one that ignores SIGTERM, and children that do, are killed', async () => {
  const result = await sh(
    `trap '' TERM; (echo $BASHPID; exec sh -c 'echo $$ > child; while :; do sleep 0.05; done') & ` +
      'until [ -s child ]; do sleep 0.01; done; echo $$ > leader; while :; do sleep 0.05; done',
    { timeoutMs: 300 },
    clockFrom('leader'),
  );
  expect(result).toMatchObject({ outcome: 'timedOut', signal: 'SIGKILL' });
  expect(result.durationMs).toBeGreaterThanOrEqual(500);
  for (const file of ['leader', 'child']) await gone(file);
});

test('what a script leaves behind when it ends is ended too, also where it ignores SIGTERM', async () => {
  const result = await sh(
    `(trap '' TERM; sh -c 'echo $$ > child; exec sleep 1000' & sleep 1000) & ` +
      'until [ -s child ]; do sleep 0.01; done',
  );
  expect(result).toMatchObject({ outcome: 'ok', exitStatus: 0 });
  await gone('child');
});

test('a process that left the group and holds the output open does not hold up the end', async () => {
  // It ends, or this test does not.
  const result = await sh(
    "setsid sh -c 'echo $$ > child; exec sleep 1000' & until [ -s child ]; do sleep 0.01; done",
  );
  const pid = await pidIn('child');
  process.kill(pid, 'SIGKILL');
  expect(result.outcome).toBe('ok');
});

test('of gigabytes of output only the end is kept, and no more is read than bears the pace', async () => {
  const before = process.memoryUsage().rss;
  const endless = await sh(
    "echo > began; exec yes 'a line'",
    { timeoutMs: 1_000, termMs: patienceMs },
    clockFrom('began'),
  );
  expect(endless).toMatchObject({ outcome: 'timedOut', signal: 'SIGTERM' });
  expect(Buffer.byteLength(endless.output)).toBe(4_096);
  expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
  const long = await sh('head -c 2000000 /dev/zero | tr "\\0" a; echo; echo the end');
  expect(long.outcome).toBe('ok');
  expect(long.output).toMatch(/^a+\nthe end\n$/u);
  const cut = await sh("i=0; while [ $i -lt 3000 ]; do printf 'äö'; i=$((i+1)); done; printf x");
  expect(cut.output).toMatch(/^[äö]+x$/u);
});

test('one that is to end because the service stops is ended', async () => {
  const stop = new AbortController();
  const ending = sh('echo $$ > leader; sleep 1000', { signal: stop.signal }, clockFrom('leader'));
  await eventually(
    'its start',
    () => existsSync(join(directory, 'leader')) && statSync(join(directory, 'leader')).size > 0,
  );
  stop.abort();
  expect(await ending).toMatchObject({ outcome: 'failed', signal: 'SIGTERM', detail: 'the service stops' });
  await gone('leader');
});

test.runIf(process.getuid?.() === 0)(
  'it runs as the user it is told to, with no group but its own',
  async () => {
    const [uid, gid] = ['-u', '-g'].map((flag) =>
      Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' })),
    );
    const result = await sh('id -u; id -G', { user: { uid: uid ?? 0, gid: gid ?? 0 } });
    expect(result.output).toBe(`${uid}\n${gid}\n`);
  },
);
