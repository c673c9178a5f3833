import { setImmediate as turn } from 'node:timers/promises';
import type { ErrorCode } from '@vmpulse/wire';
import { describe, expect, it } from 'vitest';
import { agentOnSocket, failure } from '../../../../test/support/agent-on-socket.ts';
import { until } from '../../../../test/contract/tick-source.ts';
import type { ScriptedAgent } from '../../../../test/support/scripted-agent.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { GuestAgent } from './guest-agent.ts';

/** For what is to come by itself: a busy machine takes its time. */
const patienceMs = 60_000;

let port: ScriptedAgent;
let agent: GuestAgent;
const { use } = agentOnSocket((openedPort, made) => {
  port = openedPort;
  agent = made;
});

describe('what the agent is asked', () => {
  it('begins with a sync when there is something to ask, and not before', async () => {
    for (let i = 0; i < 10; i++) await turn();
    expect(port.accepted).toBe(0);
    port.answer('guest-get-host-name', { 'host-name': 'web-1' });
    expect(await agent.hostName()).toBe('web-1');
    expect(await agent.hostName()).toBe('web-1');
    expect(port.seen.map((command) => command.execute)).toEqual([
      'guest-sync-delimited',
      'guest-get-host-name',
      'guest-get-host-name',
    ]);
    expect(port.accepted).toBe(1);
  });

  it('tells the operating system, with what is not printable left out', async () => {
    port.answer('guest-get-osinfo', {
      id: 'debian',
      'pretty-name': 'Debian GNU/Linux 12 (bookworm)',
      version: 12,
      'kernel-release': '6.1\u001b[2J',
      machine: 'x'.repeat(300),
    });
    expect(await agent.osInfo()).toEqual({
      id: 'debian',
      prettyName: 'Debian GNU/Linux 12 (bookworm)',
      version: null,
      kernelRelease: null,
      machine: null,
    });
  });

  it('tells its version and which commands are enabled', async () => {
    const commands = [
      { name: 'guest-ping', enabled: true, 'success-response': true },
      { name: 'guest-exec', enabled: false },
      { name: 7, enabled: true },
      'junk',
    ];
    port.answer('guest-info', { version: '7.2.0', supported_commands: commands });
    const info = await agent.info();
    expect(info.version).toBe('7.2.0');
    expect([...info.commands]).toEqual([
      ['guest-ping', true],
      ['guest-exec', false],
    ]);
  });

  it('tells whether file systems are frozen', async () => {
    port.answer('guest-fsfreeze-status', 'frozen');
    expect(await agent.freezeStatus()).toBe('frozen');
    port.answer('guest-fsfreeze-status', 'liquid');
    expect(await failure(agent.freezeStatus())).toBe('VM_E_ADDITIONS_NOT_AVAIL');
  });
});

describe('a ping', () => {
  it('is answered by the sync of a new connection, then by the command', async () => {
    port.answer('guest-ping', {});
    expect(await agent.ping(patienceMs)).toMatchObject({ answered: true });
    expect(port.commands).toEqual([]);
    expect(await agent.ping(patienceMs)).toMatchObject({ answered: true });
    expect(port.commands).toEqual(['guest-ping']);
    expect(agent.lastAnswerMs).not.toBeNull();
  });

  it('shows silence when nobody answers, and no connection when there is no socket', async () => {
    const clock = new SimulatedClock();
    use(clock);
    port.silent = true;
    const ping = agent.ping(50);
    await until(() => port.syncs === 1);
    clock.advance(50);
    expect(await ping).toEqual({ answered: false, reason: 'silent' });
    await port.close();
    await until(() => agent.lastAnswerMs === null);
    const fresh = new GuestAgent(clock, port.path);
    expect(await fresh.ping(50)).toEqual({ answered: false, reason: 'notConnected' });
    fresh.close();
  });

  it('counts a refusal as an answer', async () => {
    await agent.ping(patienceMs);
    port.script.set('guest-ping', () => '{"error":{"class":"CommandNotFound","desc":"disabled"}}\n');
    expect(await agent.ping(patienceMs)).toMatchObject({ answered: true });
  });

  it('that waits is answered by the answer to another command, and says nothing when that never came', async () => {
    const clock = new SimulatedClock();
    use(clock);
    const name = agent.hostName(1_000);
    await until(() => port.commands.length === 1);
    const answered = agent.ping(500);
    const busy = agent.ping(50);
    clock.advance(50);
    expect(await busy).toEqual({ answered: false, reason: 'busy' });
    clock.advance(50);
    port.write('{"return":{"host-name":"a"}}\n');
    expect(await answered).toEqual({ answered: true, latencyMs: 100 });
    expect(await name).toBe('a');
    expect(port.commands).toEqual(['guest-get-host-name']);
  });

  it('answered too late leaves its time, and the connection in sync', async () => {
    const clock = new SimulatedClock();
    use(clock);
    port.silent = true;
    const ping = agent.ping(50);
    await until(() => port.syncs === 1);
    clock.advance(50);
    expect((await ping).answered).toBe(false);
    clock.advance(10);
    port.write(port.syncAnswer());
    await until(() => agent.lastAnswerMs !== null);
    expect(agent.lastAnswerMs).toBe(clock.monotonicMs());
    port.silent = false;
    port.answer('guest-ping', {});
    expect((await agent.ping(50)).answered).toBe(true);
    expect(port.syncs).toBe(1);
  });

  it('after ping to a guest that hangs sends one sync a second at most, and none that would pile up', async () => {
    const clock = new SimulatedClock();
    use(clock);
    port.silent = true;
    for (let i = 0; i < 100; i++) {
      const ping = agent.ping(50);
      await until(() => port.syncs >= 1);
      clock.advance(50);
      expect(await ping).toEqual({ answered: false, reason: 'silent' });
      await turn();
    }
    expect(port.syncs).toBeGreaterThanOrEqual(3);
    expect(port.syncs).toBeLessThanOrEqual(6);
  });
});

describe('a shutdown', () => {
  async function shutdown(): Promise<{ clock: SimulatedClock; result: Promise<string> }> {
    const clock = new SimulatedClock();
    use(clock);
    const result = agent.shutdown('reboot', 5_000).then(
      () => 'taken',
      (error: { code: ErrorCode }) => error.code,
    );
    await until(() => port.commands.length === 1);
    expect(port.seen.at(-1)?.arguments).toEqual({ mode: 'reboot' });
    return { clock, result };
  }

  it('is taken when the agent refuses nothing and then answers a sync', async () => {
    const { clock, result } = await shutdown();
    expect(port.syncs).toBe(1);
    clock.advance(500);
    expect(await result).toBe('taken');
    expect(port.syncs).toBe(2);
    expect(clock.monotonicMs()).toBe(1_000_500);
  });

  it('is taken when the connection ends, or nothing comes at all: the guest is on its way down', async () => {
    const first = await shutdown();
    port.hangUp();
    expect(await first.result).toBe('taken');
    agent.close();
    port.seen.length = 0;
    const second = await shutdown();
    port.silent = true;
    second.clock.advance(5_000);
    expect(await second.result).toBe('taken');
    expect(second.clock.pendingTimers).toBe(0);
  });

  it('that is refused fails, at once or late', async () => {
    const refusal = '{"error":{"class":"GenericError","desc":"child process has failed to shutdown"}}\n';
    const atOnce = await shutdown();
    port.write(refusal);
    expect(await atOnce.result).toBe('E_FAIL');
    agent.close();
    port.seen.length = 0;
    const late = await shutdown();
    port.script.set('guest-sync-delimited', () => {
      port.write(refusal);
      return port.syncAnswer();
    });
    late.clock.advance(500);
    expect(await late.result).toBe('E_FAIL');
  });
});

describe('a program run in the guest', () => {
  const options = { timeoutMs: patienceMs, maxOutputBytes: 1_000 };
  const base64 = (text: string): string => Buffer.from(text).toString('base64');

  it('is waited for, with its input, output and exit code', async () => {
    let polls = 0;
    port.answer('guest-exec', { pid: 42 });
    port.script.set('guest-exec-status', () => {
      polls += 1;
      const ended = { exited: true, exitcode: 3, 'out-data': base64('out'), 'err-data': base64('err') };
      return `${JSON.stringify({ return: polls < 3 ? { exited: false } : ended })}\n`;
    });
    const result = await agent.execute('/bin/cat', ['-n'], { ...options, input: Buffer.from('in') });
    expect(result).toMatchObject({ exitCode: 3, signal: null, truncated: false });
    expect(Buffer.from(result.stdout).toString()).toBe('out');
    expect(Buffer.from(result.stderr).toString()).toBe('err');
    expect(port.seen.find((command) => command.execute === 'guest-exec')?.arguments).toEqual({
      path: '/bin/cat',
      arg: ['-n'],
      'capture-output': true,
      'input-data': base64('in'),
    });
    expect(port.seen.at(-1)?.arguments).toEqual({ pid: 42 });
  });

  it('has its output cut at the bound, and says so', async () => {
    port.answer('guest-exec', { pid: 1 });
    port.answer('guest-exec-status', { exited: true, signal: 9, 'out-data': base64('x'.repeat(1_001)) });
    const result = await agent.execute('/bin/yes', [], options);
    expect(result).toMatchObject({ exitCode: null, signal: 9, truncated: true });
    expect(result.stdout).toHaveLength(1_000);
  });

  it('that does not end in time is given up', async () => {
    const clock = new SimulatedClock();
    use(clock);
    port.answer('guest-exec', { pid: 1 });
    port.answer('guest-exec-status', { exited: false });
    const code = failure(agent.execute('/bin/sleep', ['1000'], { ...options, timeoutMs: 5_000 }));
    let done = false;
    void code.finally(() => {
      done = true;
    });
    await until(() => {
      const last = port.commands.length;
      if (last > 0 && clock.nextTimerMs !== null) clock.advance(50);
      return done;
    });
    expect(await code).toBe('VM_E_TIMED_OUT');
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(1_005_000);
  });

  it('with too large a bound or command is refused before anything is sent', async () => {
    expect(await failure(agent.execute('a', [], { ...options, maxOutputBytes: 500_000 }))).toBe(
      'E_INVALIDARG',
    );
    expect(await failure(agent.execute('a', ['x'.repeat(300_000)], options))).toBe('E_INVALIDARG');
    expect(port.accepted).toBe(0);
  });

  it('whose output is longer than a line may be fails, and the next command works', async () => {
    port.answer('guest-exec', { pid: 1 });
    port.answer('guest-exec-status', { exited: true, 'out-data': 'A'.repeat(1_200_000) });
    port.answer('guest-get-host-name', { 'host-name': 'a' });
    expect(await failure(agent.execute('/bin/yes', [], options))).toBe('E_BUFFER_OVERFLOW');
    expect(await agent.hostName()).toBe('a');
    expect(port.accepted).toBe(1);
  });
});
