import { setImmediate as turn } from 'node:timers/promises';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { agentOnSocket, failure } from '../../../../test/support/agent-on-socket.ts';
import { until } from '../../../../test/contract/tick-source.ts';
import type { ScriptedAgent } from '../../../../test/support/scripted-agent.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { maxAgentQueue } from './agent-channel.ts';
import type { GuestAgent } from './guest-agent.ts';

/** For what is to come by itself: a busy machine takes its time. */
const patienceMs = 60_000;

let port: ScriptedAgent;
let agent: GuestAgent;
const { use } = agentOnSocket((openedPort, made) => {
  port = openedPort;
  agent = made;
});

describe('commands', () => {
  it('go out one at a time, the operator\u2019s before pings that wait', async () => {
    const name = agent.hostName();
    await until(() => port.commands.length === 1);
    const order: string[] = [];
    const ping = agent.ping(patienceMs).then(() => order.push('ping'));
    const info = agent.freezeStatus().then(() => order.push('freeze'));
    port.answer('guest-fsfreeze-status', 'thawed');
    for (let i = 0; i < 10; i++) await turn();
    expect(port.commands).toEqual(['guest-get-host-name']);
    port.write('{"error":{"class":"GenericError","desc":"no name"}}\n');
    expect(await failure(name)).toBe('E_FAIL');
    await Promise.all([ping, info]);
    expect(port.commands).toEqual(['guest-get-host-name', 'guest-fsfreeze-status']);
  });

  it('of the operator are sent before a ping that waited longer', async () => {
    const clock = new SimulatedClock();
    use(clock);
    const first = agent.hostName(100);
    await until(() => port.commands.length === 1);
    port.answer('guest-ping', {});
    port.answer('guest-fsfreeze-status', 'thawed');
    const ping = agent.ping(5_000);
    const freeze = agent.freezeStatus();
    clock.advance(100);
    expect(await failure(first)).toBe('VM_E_TIMED_OUT');
    expect(await freeze).toBe('thawed');
    expect((await ping).answered).toBe(true);
    expect(port.commands.slice(0, 2)).toEqual(['guest-get-host-name', 'guest-fsfreeze-status']);
  });

  it('of the operator do not wait for pings that nobody answers', async () => {
    const clock = new SimulatedClock();
    use(clock);
    const first = agent.hostName(100);
    await until(() => port.commands.length === 1);
    port.silent = true;
    const ping = agent.ping(5_000);
    const freeze = failure(agent.freezeStatus(1_000));
    clock.advance(1_000);
    expect(await failure(first)).toBe('VM_E_TIMED_OUT');
    // It had its turn, and no answer; VM_E_TIMED_OUT would mean that it never had.
    expect(await freeze).toBe('VM_E_ADDITIONS_NOT_AVAIL');
    clock.advance(4_000);
    expect((await ping).answered).toBe(false);
  });

  it('do not pile up before a guest that takes nothing', async () => {
    const clock = new SimulatedClock();
    use(clock);
    port.silent = true;
    await port.close();
    port.reading = false;
    await port.open();
    for (let i = 0; i < 1_000; i++) {
      const ping = agent.ping(50);
      await until(() => port.accepted === 1);
      await turn();
      clock.advance(1_000);
      expect((await ping).answered).toBe(false);
    }
    port.read();
    await until(() => port.syncs > 100);
    for (let i = 0; i < 100; i++) await turn();
    // A socket takes some 280 of them.
    expect(port.syncs).toBeLessThan(600);
  });

  it('may be many on one connection, their answers together longer than any flood may be', async () => {
    port.answer('guest-get-host-name', { 'host-name': 'a', more: 'x'.repeat(60_000) });
    for (let i = 0; i < 100; i++) expect(await agent.hostName()).toBe('a');
    expect(port.accepted).toBe(1);
    expect(port.syncs).toBe(1);
  });

  it('that time out are followed by a new sync, and their answer is not taken for that of the next', async () => {
    const clock = new SimulatedClock();
    use(clock);
    const late = agent.hostName(1_000);
    await until(() => port.commands.length === 1);
    clock.advance(1_000);
    expect(await failure(late)).toBe('VM_E_TIMED_OUT');
    port.script.set('guest-sync-delimited', () => {
      port.write('{"return":{"host-name":"of the first"}}\n{"return":5}\n');
      return port.syncAnswer();
    });
    port.answer('guest-get-host-name', { 'host-name': 'of the second' });
    expect(await agent.hostName(1_000)).toBe('of the second');
    expect(port.syncs).toBe(2);
  });

  it('wait for the answer to their own sync, not to an earlier one', async () => {
    port.script.set('guest-sync-delimited', () => {
      port.write(Buffer.from('\xff{"return": 1}\n\xff{"return": "x"}\n\xff[1]\n', 'latin1'));
      const answer = port.syncAnswer();
      port.write(answer.subarray(1));
      return null;
    });
    const name = agent.hostName(patienceMs);
    await until(() => port.syncs === 1);
    for (let i = 0; i < 10; i++) await turn();
    expect(port.commands).toEqual([]);
    port.answer('guest-get-host-name', { 'host-name': 'a' });
    port.write(port.syncAnswer());
    expect(await name).toBe('a');
  });

  it('are heard by an agent that starts after the first sync was lost', async () => {
    const clock = new SimulatedClock();
    use(clock);
    port.silent = true;
    port.answer('guest-get-host-name', { 'host-name': 'late' });
    const name = agent.hostName(5_000);
    await until(() => port.syncs === 1);
    port.silent = false;
    clock.advance(1_000);
    expect(await name).toBe('late');
  });

  it('fail when nobody answers at all, in the end', async () => {
    const clock = new SimulatedClock();
    use(clock);
    port.silent = true;
    const name = agent.hostName(3_000);
    await until(() => port.syncs === 1);
    clock.advance(3_000);
    expect(await failure(name)).toBe('VM_E_ADDITIONS_NOT_AVAIL');
    expect(clock.pendingTimers).toBe(0);
  });

  it('that the agent does not offer, or has disabled, say so', async () => {
    for (const error of [
      { class: 'CommandNotFound', desc: 'The command guest-get-host-name has not been found' },
      { class: 'CommandNotFound', desc: 'Command guest-get-host-name has been disabled' },
      { class: 'GenericError', desc: 'this feature or command is not currently supported' },
    ]) {
      port.script.set('guest-get-host-name', () => `${JSON.stringify({ error })}\n`);
      expect(await failure(agent.hostName())).toBe('VM_E_ADDITIONS_FEATURE_NOT_AVAIL');
    }
  });

  it('are refused when too many wait', async () => {
    const clock = new SimulatedClock();
    use(clock);
    port.silent = true;
    const waiting = Array.from({ length: maxAgentQueue + 1 }, () => failure(agent.hostName(100)));
    expect(await failure(agent.hostName(100))).toBe('VM_E_OUT_OF_RESOURCE');
    expect(await agent.ping(100)).toEqual({ answered: false, reason: 'busy' });
    clock.advance(100);
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['VM_E_ADDITIONS_NOT_AVAIL']));
  });

  it('are sent on a new connection when the machine was started anew', async () => {
    port.answer('guest-get-host-name', { 'host-name': 'a' });
    expect(await agent.hostName()).toBe('a');
    await port.close();
    await port.open();
    port.answer('guest-get-host-name', { 'host-name': 'b' });
    expect(await agent.hostName()).toBe('b');
    expect(port.accepted).toBe(2);
  });

  it('fail when the connection ends before their answer, and once the agent is closed', async () => {
    const name = agent.hostName();
    await until(() => port.commands.length === 1);
    port.hangUp();
    expect(await failure(name)).toBe('VM_E_ADDITIONS_NOT_AVAIL');
    const waiting = [failure(agent.hostName()), failure(agent.osInfo())];
    agent.close();
    agent.close();
    expect(await Promise.all(waiting)).toEqual(['VM_E_ADDITIONS_NOT_AVAIL', 'VM_E_ADDITIONS_NOT_AVAIL']);
    expect(await failure(agent.hostName())).toBe('VM_E_ADDITIONS_NOT_AVAIL');
  });
});

describe('a hostile agent', () => {
  it.each([
    ['nothing', '', 'VM_E_ADDITIONS_NOT_AVAIL'],
    ['half a line', '{', 'VM_E_ADDITIONS_NOT_AVAIL'],
    ['null', 'null', 'VM_E_ADDITIONS_NOT_AVAIL'],
    ['a list', '[]', 'VM_E_ADDITIONS_NOT_AVAIL'],
    ['an event', '{"event":1}', 'VM_E_ADDITIONS_NOT_AVAIL'],
    ['with null', '{"return":null}', 'VM_E_ADDITIONS_NOT_AVAIL'],
    ['with a list', '{"return":[]}', 'VM_E_ADDITIONS_NOT_AVAIL'],
    ['with no error', '{"error":null}', 'VM_E_ADDITIONS_NOT_AVAIL'],
    ['with an error of other types', '{"error":{"class":5,"desc":{}}}', 'E_FAIL'],
    ['with depth', '['.repeat(60_000), 'VM_E_ADDITIONS_NOT_AVAIL'],
    ['at length', `{"return":{"host-name":"${'x'.repeat(70_000)}"}}`, 'E_BUFFER_OVERFLOW'],
  ])('that answers %s fails that command, and the next one works', async (_name, line, code) => {
    port.script.set('guest-get-host-name', () => `${line}\n`);
    expect(await failure(agent.hostName())).toBe(code);
    port.answer('guest-get-host-name', { 'host-name': 'a' });
    expect(await agent.hostName()).toBe('a');
  });

  it('has its words made printable and short before an operator sees them', async () => {
    const desc = `\u001b[2Jevil${'x'.repeat(5_000)}`;
    port.script.set(
      'guest-get-host-name',
      () => `${JSON.stringify({ error: { class: 'GenericError', desc } })}\n`,
    );
    const error: unknown = await agent.hostName().catch((thrown: unknown) => thrown);
    expect((error as Error).message).toBe(
      'The guest agent could not do guest-get-host-name: no reason given',
    );
  });

  it('that says what nobody asked is not believed later', async () => {
    expect((await agent.ping(patienceMs)).answered).toBe(true);
    port.write('{"return":{"host-name":"unasked"}}\n');
    for (let i = 0; i < 10; i++) await turn();
    port.answer('guest-get-host-name', { 'host-name': 'asked' });
    expect(await agent.hostName()).toBe('asked');
    expect(port.syncs).toBe(2);
  });

  it('is found in sync behind a long stale answer that came in the same read', async () => {
    port.script.set('guest-sync-delimited', () =>
      Buffer.concat([Buffer.from(`${'x'.repeat(20_000)}\n${'y'.repeat(9_000)}`), port.syncAnswer()]),
    );
    expect((await agent.ping(patienceMs)).answered).toBe(true);
    expect(port.syncs).toBe(1);
  });

  it('that floods is hung up on after 4 MiB, whether or not anything was asked', async () => {
    port.script.set('guest-sync-delimited', () => Buffer.alloc(8 * 1024 * 1024, 'x'));
    expect(await failure(agent.hostName())).toBe('VM_E_ADDITIONS_NOT_AVAIL');
    port.script.delete('guest-sync-delimited');
    port.answer('guest-get-host-name', { 'host-name': 'a' });
    expect(await agent.hostName()).toBe('a');
    expect(port.accepted).toBe(2);
    const before = process.memoryUsage.rss();
    port.write(Buffer.alloc(8 * 1024 * 1024, '{'));
    await until(() => port.unsentBytes === 0);
    expect(process.memoryUsage.rss() - before).toBeLessThan(32 * 1024 * 1024);
    expect(await agent.hostName()).toBe('a');
    expect(port.accepted).toBe(3);
  });

  it('that sends anything at all makes nothing throw, and a real answer is still found', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 }), async (chunks) => {
        port.script.set('guest-get-host-name', () => Buffer.concat([...chunks, Buffer.from('\n')]));
        await failure(agent.hostName().then(() => Promise.reject(new Error('never mind'))));
        port.answer('guest-get-host-name', { 'host-name': 'a' });
        expect(await agent.hostName()).toBe('a');
      }),
      { numRuns: 100 },
    );
  });
});
