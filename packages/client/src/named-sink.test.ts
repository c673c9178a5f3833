import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BriskClock } from '../../../test/support/brisk-clock.ts';
import { type HttpFixture, draft, startHttp, testToken } from '../../../test/support/http-fixture.ts';
import { MemoryEventLog } from '../../../test/support/memory-event-log.ts';
import { type Connection, HResult, type VirtualServerSink, VirtualServer, type VmError } from './index.ts';

let log: MemoryEventLog;
let http: HttpFixture;
let server: VirtualServer;
const connections: Connection[] = [];

const connect = (): Promise<VirtualServer> =>
  VirtualServer.connect(`http://127.0.0.1:${http.port}`, { token: testToken });

beforeEach(async () => {
  log = new MemoryEventLog();
  http = await startHttp({ log, clock: new BriskClock(5).hurry() });
  server = await connect();
});

afterEach(async () => {
  for (const connection of connections.splice(0)) await connection.unadvise();
  await server.close();
  await http.server.close();
});

const vm = { id: '11111111-1111-4111-8111-111111111111', name: 'web-1' };

async function tell(count = 1): Promise<void> {
  for (let n = 0; n < count; n += 1) await log.append(draft(vm));
}

/** What a sink answers to an event it is told the `nth` time; default: nothing. */
type Answers = (seq: number, nth: number) => void | number | Promise<void | number>;

function advise(
  answers: Answers = () => undefined,
  options: object = {},
  at = server,
): { seqs: number[]; errors: VmError[]; connection: Connection } {
  const seqs: number[] = [];
  const errors: VmError[] = [];
  const sink: VirtualServerSink = {
    onEvent: ({ seq }) => {
      seqs.push(seq);
      return answers(seq, seqs.filter((one) => one === seq).length);
    },
  };
  const onError = (error: VmError): void => void errors.push(error);
  const connection = at.advise(sink, { name: 'pager', onError, ...options });
  connections.push(connection);
  return { seqs, errors, connection };
}

const eventually = (check: () => void | Promise<void>): Promise<void> =>
  vi.waitFor(check, { timeout: 120_000, interval: 5 });
const cursor = async (): Promise<number> => (await server.subscriptions.get('pager')).cursor;
const cursorIs = (seq: number): Promise<void> => eventually(async () => expect(await cursor()).toBe(seq));

describe('a sink under a name', () => {
  it('makes its subscription, and what it takes is acknowledged', async () => {
    const { seqs, connection } = advise();
    await connection.ready;
    expect(await server.subscriptions.get('pager')).toMatchObject({ types: null, maxAttempts: 10 });
    await tell(250);
    await cursorIs(250);
    expect(seqs).toEqual(Array.from({ length: 250 }, (_, n) => n + 1));
    expect(connection.seq).toBe(250);
  });

  it('is told what came while it was away, also over a restart of the service', async () => {
    const first = advise();
    await first.connection.ready;
    await tell(2);
    await cursorIs(2);
    await first.connection.unadvise();
    await first.connection.closed;
    await tell(2);
    await http.server.close();
    await http.subscriptions.close();
    http = await startHttp({ log, clock: new BriskClock(5).hurry(), listen: { port: http.port } });
    const second = advise();
    await cursorIs(4);
    expect([first.seqs, second.seqs]).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });

  it('goes on by itself when the service was restarted', async () => {
    const { seqs, connection } = advise();
    await connection.ready;
    await tell();
    await cursorIs(1);
    const { port } = http;
    await http.server.close();
    await http.subscriptions.close();
    await tell();
    http = await startHttp({ log, clock: new BriskClock(5).hurry(), listen: { port } });
    await cursorIs(2);
    expect(seqs).toEqual([1, 2]);
  });

  it.each<[string, Answers]>([
    ['answers a failure code', (seq, nth) => (seq === 2 && nth < 3 ? HResult.E_FAIL : HResult.S_FALSE)],
    [
      'throws',
      (seq, nth) => {
        if (seq === 2 && nth < 3) throw new Error('no one there');
      },
    ],
    [
      'rejects',
      (seq, nth) => (seq === 2 && nth < 3 ? Promise.reject(new Error('no one there')) : Promise.resolve()),
    ],
  ])('that %s has not taken the event, and is told it again before any other', async (_, answers) => {
    const { seqs, errors, connection } = advise(answers);
    await connection.ready;
    await tell(4);
    await cursorIs(4);
    expect(seqs).toEqual([1, 2, 2, 2, 3, 4]);
    expect(errors.map(({ code }) => code)).toEqual(['E_FAIL', 'E_FAIL']);
  });

  it('that never takes an event finds it set aside, and can have it replayed', async () => {
    let broken = true;
    const { seqs, connection } = advise(
      (seq) => {
        if (seq === 1 && broken) throw new Error('no one there');
      },
      { maxAttempts: 2 },
    );
    await connection.ready;
    await tell(2);
    // The third tells that the first was set aside.
    await cursorIs(3);
    expect(seqs).toEqual([1, 1, 2, 3]);
    expect(await server.subscriptions.deadLetters('pager')).toMatchObject([
      { seq: 1, attempts: 2, reason: "The sink's onEvent, called with event 1, failed: no one there" },
    ]);
    broken = false;
    await server.subscriptions.replay('pager', 1);
    await eventually(async () => expect(await server.subscriptions.deadLetters('pager')).toEqual([]));
    expect(seqs).toEqual([1, 1, 2, 3, 1]);
    expect(await cursor()).toBe(3);
  });

  it('waits while another of its name is served, and takes over', async () => {
    const other = await connect();
    const first = advise();
    await first.connection.ready;
    const second = advise(undefined, {}, other);
    await second.connection.ready;
    await eventually(async () =>
      expect(await server.subscriptions.get('pager')).toMatchObject({ state: 'served', standby: 1 }),
    );
    await tell(3);
    await cursorIs(3);
    await first.connection.unadvise();
    await tell();
    await cursorIs(4);
    expect([first.seqs, second.seqs]).toEqual([[1, 2, 3], [4]]);
    await other.close();
    expect(await second.connection.closed).toBeUndefined();
  });

  it('whose method hangs loses its place to the next one, and takes part again when it ends', async () => {
    let end = (): void => undefined;
    const hanging = new Promise<void>((resolve) => {
      end = resolve;
    });
    const other = await connect();
    const first = advise((seq) => (seq === 2 ? hanging : undefined), { ackTimeoutMs: 10_000 });
    await first.connection.ready;
    await eventually(async () =>
      expect(await server.subscriptions.get('pager')).toMatchObject({
        ackTimeoutMs: 10_000,
        state: 'served',
      }),
    );
    const second = advise(undefined, {}, other);
    await second.connection.ready;
    await tell(3);
    await cursorIs(3);
    expect([first.seqs, second.seqs]).toEqual([
      [1, 2],
      [2, 3],
    ]);
    end();
    await eventually(async () =>
      expect(await server.subscriptions.get('pager')).toMatchObject({ standby: 1, ackTimeoutMs: 10_000 }),
    );
    expect(first.seqs).toEqual([1, 2]);
    await other.close();
  });

  it('that leaves lets the method that runs end, and acknowledges what it took', async () => {
    let end = (): void => undefined;
    const running = new Promise<void>((resolve) => {
      end = resolve;
    });
    const { seqs, connection } = advise(() => running);
    await connection.ready;
    await tell(2);
    await eventually(() => expect(seqs).toEqual([1]));
    await connection.unadvise();
    end();
    expect(await connection.closed).toBeUndefined();
    expect([await cursor(), seqs]).toEqual([1, [1]]);
  });

  it('asks for the types it has methods for, and leaves to the operator what it does not say', async () => {
    await server.subscriptions.put('pager', { machines: ['web-1'], maxAttempts: 4 });
    const names: string[] = [];
    const connection = server.advise(
      { onHeartbeatResumed: (name) => void names.push(name) },
      { name: 'pager' },
    );
    connections.push(connection);
    await connection.ready;
    await tell();
    await log.append({
      type: 'heartbeatResumed',
      vm,
      timeMs: 0,
      data: { outageMs: 1, stoppedSeq: null },
    });
    await cursorIs(2);
    expect(names).toEqual(['web-1']);
    expect(await server.subscriptions.get('pager')).toMatchObject({
      types: ['heartbeatResumed'],
      machines: ['web-1'],
      maxAttempts: 4,
    });
  });

  it('is told that it lost its place', async () => {
    await server.subscriptions.put('pager');
    await tell(5);
    log.deleteThrough(3);
    const gaps: unknown[] = [];
    const seqs: number[] = [];
    const sink: VirtualServerSink = {
      onGap: (gap) => void gaps.push(gap),
      onEvent: ({ seq }) => void seqs.push(seq),
    };
    connections.push(server.advise(sink, { name: 'pager' }));
    await cursorIs(6);
    expect([gaps, seqs]).toEqual([[{ reason: 'expired', from: 1, to: 3 }], [4, 5, 6]]);
  });

  it('ends when its subscription is deleted, and says so', async () => {
    const { errors, connection } = advise();
    await connection.ready;
    await eventually(async () =>
      expect(await server.subscriptions.get('pager')).toMatchObject({ state: 'served' }),
    );
    await server.subscriptions.delete('pager');
    expect(await connection.closed).toMatchObject({ code: 'VMPULSE_E_NOT_FOUND' });
    expect(errors.map(({ code }) => code)).toEqual(['VMPULSE_E_NOT_FOUND']);
    expect(await server.subscriptions.list()).toEqual([]);
  });

  it('misses nothing that its own server object does after it was advised', async () => {
    const { seqs } = advise();
    // Waits for the beginning.
    await server.hold({ seconds: 1, reason: 'r' });
    await tell();
    await eventually(() => expect(seqs).toEqual([1]));
  });
});
