import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type HttpFixture, draft, startHttp } from '../../../../test/support/http-fixture.ts';
import { RecordedConsumer } from '../../../../test/support/recorded-consumer.ts';
import { ScriptedTerminal } from '../../../../test/support/scripted-terminal.ts';
import { runProgram } from './program.ts';

let directory: string;
let http: HttpFixture;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-cli-'));
  http = await startHttp({ listen: { socketPath: join(directory, 'vmpulse.sock') } });
});

afterEach(async () => {
  await http.server.close();
  await rm(directory, { recursive: true });
});

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const terminal = new ScriptedTerminal({ VMPULSE_DATA: directory }, directory);
  const code = await runProgram(['subscription', ...args], terminal, '1.2.3', () => Promise.resolve([]));
  return { code, out: terminal.output, err: terminal.errors };
}

const vm = { id: '11111111-1111-4111-8111-111111111111', name: 'web-1' };

describe('vmpulse subscription', () => {
  it('makes one with its filter, shows it, lists it and deletes it', async () => {
    expect((await run('list')).out).toBe('None.');
    const filter = [
      '--type',
      'heartbeatStopped,heartbeatResumed',
      'configurationChanged',
      '--type',
      'vmCreated',
    ];
    const machines = ['--vm', 'web-1', 'db-1', '--vm', String.raw`one\,two,three`];
    const bounds = ['--verdict', 'hung', '--max-attempts', '3', '--ack-timeout', '1m30s'];
    const made = await run('create', 'pager', ...filter, ...machines, ...bounds);
    expect([made.code, made.err]).toEqual([0, '']);
    expect(made.out).toMatch(
      /^types +heartbeatStopped, heartbeatResumed, configurationChanged, vmCreated$/mu,
    );
    expect(made.out).toMatch(/^machines +web-1, db-1, one,two, three$/mu);
    expect(made.out).toMatch(/^verdicts +hung$/mu);
    expect(made.out).toMatch(/^max attempts +3$/mu);
    expect(made.out).toMatch(/^ack timeout +1 min 30 s$/mu);
    const slow = await run('create', 'slow', '--ack-timeout', 'none');
    expect(slow.err).toBe('');
    expect(slow.out).toMatch(/^ack timeout +none$/mu);
    expect((await run('create', 'slow', '--ack-timeout', '2h')).err).toMatch(/ackTimeoutMs must be/u);
    await run('delete', 'slow');
    await http.log.append(draft(vm));
    expect((await run('show', 'pager')).out).toMatch(/^lag +1 events$/mu);
    expect((await run('list')).out).toMatch(/^pager +waiting +0 +1 +\S.* 0$/mu);
    expect(JSON.parse((await run('list', '--json')).out)).toMatchObject([{ name: 'pager', lag: 1 }]);
    expect((await run('create', 'all', '--from', '1', '--json')).out).toContain('"cursor": 0');
    expect((await run('delete', 'pager')).out).toBe("'pager' is deleted");
    const gone = await run('show', 'pager');
    expect([gone.code, gone.err]).toEqual([
      expect.any(Number),
      'vmpulse: There is no subscription "pager"; vmpulse subscription list shows what there is.',
    ]);
  });

  it('says which word of a filter there is not', async () => {
    const { code, err } = await run('create', 'pager', '--type', 'heartbeatGone');
    expect(code).not.toBe(0);
    expect(err).toMatch(/^vmpulse: types has "heartbeatGone"; there is .*heartbeatStopped.* \(\/types\)$/u);
  });

  it('lists dead letters, replays and drops them', async () => {
    await run('create', 'pager', '--max-attempts', '1', '--type', 'configurationChanged');
    expect((await run('dead-letters', 'pager')).out).toBe('None.');
    const pager = http.subscriptions.find('pager');
    const consumer = new RecordedConsumer();
    pager.connect(consumer);
    for (const seq of [1, 3]) {
      await http.log.append(draft(vm));
      await expect.poll(() => consumer.seqs.at(-1)).toBe(seq);
      pager.refuse({ seq, lease: consumer.lease ?? '', reason: 'no one there' });
      await expect.poll(() => pager.deadLetters.has(seq)).toBe(true);
    }
    const { out } = await run('dead-letters', 'pager');
    expect(out).toMatch(/^ *1 +web-1 +configurationChanged +1 +\S+Z +no one there$/mu);
    expect((await run('drop', 'pager', '3')).out).toBe('#3 is dropped');
    expect((await run('replay', 'pager', '1')).out).toBe('#1 is delivered again');
    expect((await run('dead-letters', 'pager')).out).toMatch(/^ *1 .* being replayed/mu);
    expect(JSON.parse((await run('dead-letters', 'pager', '--json')).out)).toMatchObject([{ seq: 1 }]);
    expect((await run('drop', 'pager', '3')).err).toMatch(/has no dead letter 3/u);
    expect((await run('drop', 'pager', 'x')).err).toMatch(/whole number/u);
  });
});
