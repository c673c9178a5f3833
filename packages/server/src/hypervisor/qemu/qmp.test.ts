import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Command, ScriptedMonitor } from '../../../../../test/support/scripted-monitor.ts';
import { SimulatedClock } from '../../../../../test/support/simulated-clock.ts';
import { SystemClock } from '../../clock.ts';
import { maxQmpLineBytes, maxQmpQueue } from '../../limits.ts';
import { QmpConnection, type QmpListener } from './qmp.ts';

/** One turn of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** What a connection told, and waiting for it. */
class Told implements QmpListener {
  readonly events: { name: string; data: Record<string, unknown> }[] = [];
  readonly timeouts: string[] = [];
  readonly closed: Promise<string>;
  closings = 0;
  messages = 0;
  #close: (reason: string) => void = () => undefined;
  #eventWaiters: (() => void)[] = [];

  constructor() {
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
  }

  onEvent(name: string, data: Record<string, unknown>): void {
    this.events.push({ name, data });
    for (const wake of this.#eventWaiters.splice(0)) wake();
  }

  onMessage(): void {
    this.messages += 1;
  }

  onTimeout(command: string): void {
    this.timeouts.push(command);
  }

  onClose(reason: string): void {
    this.closings += 1;
    this.#close(reason);
  }

  async untilEvents(count: number): Promise<void> {
    while (this.events.length < count) {
      await new Promise<void>((resolve) => {
        this.#eventWaiters.push(resolve);
      });
    }
  }
}

describe('A QMP connection', () => {
  let folder: string;
  let path: string;
  let monitor: ScriptedMonitor;
  let told: Told;
  const open: QmpConnection[] = [];
  const connect = async (clock = new SystemClock()): Promise<QmpConnection> => {
    const connection = await QmpConnection.open(path, clock, told, 120_000);
    open.push(connection);
    return connection;
  };

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qmp-'));
    path = join(folder, 's');
    monitor = new ScriptedMonitor();
    told = new Told();
    await monitor.listen(path);
  });
  afterEach(async () => {
    for (const connection of open.splice(0)) connection.close('the test ended');
    monitor.close();
    await rm(folder, { recursive: true });
  });

  it('takes the greeting, negotiates and knows the version', async () => {
    const connection = await connect();
    expect(connection.version).toBe('7.2.22');
    expect(monitor.commands.map(({ execute }) => execute)).toEqual(['qmp_capabilities']);
  });

  it('gives each answer to its command, whatever their order', async () => {
    const connection = await connect();
    const held: Command[] = [];
    monitor.answer = (command, socket) => {
      held.push(command);
      if (held.length < 2) return;
      for (const { id, execute } of held.toReversed()) socket.write(`{"return":"${execute}","id":${id}}\n`);
    };
    expect(await Promise.all([connection.execute('one'), connection.execute('two', { a: 1 })])).toEqual([
      'one',
      'two',
    ]);
    expect(monitor.commands.at(-1)).toMatchObject({ execute: 'two', arguments: { a: 1 } });
  });

  it("fails a command with QEMU's own words", async () => {
    const connection = await connect();
    monitor.answer = ({ id }, socket) =>
      socket.write(`{"error":{"class":"GenericError","desc":"no such"},"id":${id}}\n`);
    await expect(connection.execute('x')).rejects.toMatchObject({
      code: 'VMPULSE_E_HYPERVISOR',
      message: 'QEMU refused x: no such',
    });
  });

  it('reads events in pieces, characters split across them, and several in one piece', async () => {
    await connect();
    const bytes = Buffer.from(
      '{"event":"A","data":{"name":"größe €"}}\n{"event":"B"}\n{"event":"C","data":{}}\n',
    );
    const cut = bytes.indexOf(0xc3) + 1;
    monitor.send(bytes.subarray(0, cut));
    await turn();
    monitor.send(bytes.subarray(cut));
    await told.untilEvents(3);
    expect(told.events).toEqual([
      { name: 'A', data: { name: 'größe €' } },
      { name: 'B', data: {} },
      { name: 'C', data: {} },
    ]);
  });

  it('gives a command up at its deadline, tells that, and discards the answer that comes later', async () => {
    const connection = await connect();
    let late: (() => void) | undefined;
    monitor.answer = ({ id }, socket) => {
      late = () => socket.write(`{"return":"late","id":${id}}\n{"event":"AFTER"}\n`);
    };
    await expect(connection.execute('slow', undefined, 20)).rejects.toMatchObject({ code: 'VM_E_TIMED_OUT' });
    expect(told.timeouts).toEqual(['slow']);
    expect(connection.unanswered).toBe(1);
    late?.();
    await told.untilEvents(1);
    expect(connection.unanswered).toBe(0);
    expect(told.closings).toBe(0);
  });

  it('does not give up a command whose answer lies unread when vmpulse itself was stalled', async () => {
    const clock = new SimulatedClock({ autoPoll: false });
    const connection = await QmpConnection.open(path, clock, told);
    open.push(connection);
    let answered: () => void = () => undefined;
    const answer = new Promise<void>((resolve) => {
      answered = resolve;
    });
    monitor.answer = ({ id }, socket) => socket.write(`{"return":1,"id":${id}}\n`, () => answered());
    const result = connection.execute('x');
    result.catch(() => undefined);
    // The deadline passes before the socket is read; only then is it polled.
    clock.advance(3_600_000);
    await answer;
    await expect(result).resolves.toBe(1);
    clock.poll();
    expect(told.timeouts).toEqual([]);
  });

  it('refuses commands beyond its bound, those given up counted', async () => {
    const connection = await connect();
    monitor.answer = () => undefined;
    const waiting = Array.from({ length: maxQmpQueue }, () => connection.execute('x').catch(() => 'failed'));
    await expect(connection.execute('y')).rejects.toMatchObject({ code: 'VM_E_OUT_OF_RESOURCE' });
    connection.close('enough');
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['failed']));
  });

  it.each([
    ['what is no JSON', 'garbage\n'],
    ['JSON that is no object', '[1]\n'],
    ['an object that is neither answer nor event', '{"x":1}\n'],
    ['bytes that are no UTF-8', Buffer.from([0xff, 0xfe, 0x00, 0x0a])],
  ])('drops the connection on %s, once, and fails what waits', async (_title, data) => {
    const connection = await connect();
    monitor.answer = (_command, socket) => void socket.write(data);
    await expect(connection.execute('x')).rejects.toMatchObject({ code: 'VMPULSE_E_HYPERVISOR' });
    await told.closed;
    expect(told.closings).toBe(1);
    await expect(connection.execute('y')).rejects.toMatchObject({ code: 'VMPULSE_E_HYPERVISOR' });
  });

  it('drops the connection on a line without end', async () => {
    await connect();
    monitor.send(Buffer.alloc(maxQmpLineBytes + 1, 0x20));
    expect(await told.closed).toMatch(/more than \d+ bytes/);
  });

  it('ignores answers nobody asked for', async () => {
    const connection = await connect();
    monitor.send('{"return":1,"id":999}\n{"return":1}\n{"error":1,"id":"x"}\n');
    await expect(connection.execute('x')).resolves.toEqual({});
  });

  it('fails when nobody listens, when what answers is no QMP, and when nothing is said in time', async () => {
    await expect(QmpConnection.open(join(folder, 'none'), new SystemClock(), told)).rejects.toMatchObject({
      code: 'VMPULSE_E_HYPERVISOR',
    });
    monitor.onConnect = (socket) => void socket.write('{"hello":1}\n');
    await expect(connect()).rejects.toMatchObject({ code: 'VMPULSE_E_HYPERVISOR' });
    monitor.onConnect = () => undefined;
    await expect(QmpConnection.open(path, new SystemClock(), told, 30)).rejects.toMatchObject({
      code: 'VM_E_TIMED_OUT',
    });
  });

  it('tells that QEMU closed the connection, and says nothing when it closed it itself', async () => {
    await connect();
    monitor.socket?.end();
    expect(await told.closed).toBe('QEMU closed the connection');
    told = new Told();
    const second = await connect();
    second.close('done');
    await turn();
    expect(told.closings).toBe(0);
  });
});
