import { HResult, VMVMState, VmError, eventTypeOf } from '@vmpulse/wire';
import { describe, expect, it, vi } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import { reconnectingClients } from '../../../test/support/reconnecting-clients.ts';
import type { ScriptedServer } from '../../../test/support/scripted-server.ts';
import type { Connection } from './index.ts';

let scripted: ScriptedServer;
const connect = reconnectingClients((server) => {
  scripted = server;
});

describe('a sink of the server', () => {
  it('is told the name of the machine that stopped, with the event', async () => {
    const server = await connect();
    const told: unknown[][] = [];
    const connection = server.advise({
      onHeartbeatStopped(virtualMachineConfig, event) {
        told.push([virtualMachineConfig, event.seq, event.data.verdict]);
        return HResult.S_OK;
      },
    });
    await connection.ready;
    scripted.stopGuest();
    await eventually('the stop', () => told.length > 0);
    expect(told).toEqual([['web-1', 1, 'hung']]);
  });

  it('gets states as VMVMState numbers, service events and logged events as message ids', async () => {
    const server = await connect();
    const told: unknown[] = [];
    server.advise(
      {
        onVMStateChange: (name, state) => void told.push([name, state]),
        onServiceEvent: (id) => void told.push(['service', id]),
        onEventLogged: (id) => void told.push(['logged', id]),
        onEvent: (event) => void told.push(event.seq),
      },
      { after: 0 },
    );
    const [vm] = scripted.vms;
    scripted.emit('stateChanged', { state: 'paused', stateCode: 6, previousState: 'running' }, vm);
    scripted.emit('serviceStopped', { messageId: 2, reason: 'stopped by its operator' });
    const error = { code: 'E_FAIL', hresult: '0x80004005', detail: 'no' };
    scripted.emit('taskFailed', { task: 't1', operation: 'startup', messageId: 100, error }, vm);
    await eventually('all', () => told.length === 6);
    expect(told).toEqual([['web-1', VMVMState.vmVMState_Paused], 1, ['service', 2], 2, ['logged', 100], 3]);
  });

  it('is told what guests suffer together, logged and by name, and holds with or without a machine', async () => {
    const server = await connect();
    const told: unknown[] = [];
    server.advise(
      {
        onEventLogged: (id) => void told.push(['logged', id]),
        onCohortSilent: ({ data }) => void told.push(['cohort', data.silent]),
        onHoldStarted: (name, { data }) => void told.push([name, data.reason]),
        onHoldEnded: (name, { data }) => void told.push([name, data.how]),
      },
      { after: 0 },
    );
    const [vm] = scripted.vms;
    const until = '2024-01-01T01:00:00.000Z';
    const cohort = { messageId: 102, silent: 3, watched: 4, withinMs: 20, vms: [], host: 'load 1' };
    scripted.emit('cohortSilent', cohort);
    scripted.emit('hostSuspended', { messageId: 103, suspendedMs: 5 });
    scripted.emit('holdStarted', { scope: 'all', reason: 'upgrade', until });
    scripted.emit('holdEnded', { scope: 'vm', reason: 'backup', how: 'released', heldMs: 1 }, vm);
    await eventually('all', () => told.length === 5);
    expect(told).toEqual([
      ['logged', 102],
      ['cohort', 3],
      ['logged', 103],
      [null, 'upgrade'],
      ['web-1', 'released'],
    ]);
  });

  it('gets every event of the service and its host with its message id, by the method of the original', async () => {
    const server = await connect();
    const told: unknown[] = [];
    server.advise(
      {
        onServiceEvent: (id, { data }) => void told.push(['service', id, 'unclean' in data && data.unclean]),
        onEventLogged: (id, event) => void told.push(['logged', id, eventTypeOf(event)]),
      },
      { after: 0 },
    );
    const [vm] = scripted.vms;
    const started = { version: '1', pid: 1 };
    scripted.emit('serviceStarted', { ...started, messageId: 1, unclean: false });
    scripted.emit('serviceStarted', { ...started, messageId: 3, unclean: true });
    scripted.emit('serviceStopped', { messageId: 2, reason: 'asked to' });
    scripted.emit('ioError', { messageId: 104, device: 'disk0', action: 'stop', others: 0 }, vm);
    scripted.emit('memoryFailure', { messageId: 105, recipient: 'guest', action: 'inject', others: 0 }, vm);
    const space = { path: '/images', freeBytes: 1, boundBytes: 2, machines: [], machineCount: 0 };
    scripted.emit('diskSpaceLow', { ...space, messageId: 106, level: 'warning', eventType: 10 });
    scripted.emit('diskSpaceLow', { ...space, messageId: 107, level: 'error', eventType: 11 });
    scripted.emit('diskSpaceRegained', { ...space, messageId: 108, from: 'error', to: 'ok' });
    scripted.emit('diskSpaceUnknown', { messageId: 109, path: '/net', reason: 'no answer', over: false });
    await eventually('all', () => told.length === 9);
    expect(told).toEqual([
      ['service', 1, false],
      ['service', 3, true],
      ['service', 2, false],
      ['logged', 104, 'ioError'],
      ['logged', 105, 'memoryFailure'],
      ['logged', 106, 'diskSpaceLow'],
      ['logged', 107, 'diskSpaceLow'],
      ['logged', 108, 'diskSpaceRegained'],
      ['logged', 109, 'diskSpaceUnknown'],
    ]);
  });

  it('may be an object of a class: its methods keep their this', async () => {
    class Counter {
      stops = 0;
      onHeartbeatStopped(): void {
        this.stops += 1;
      }
    }
    const server = await connect();
    const counter = new Counter();
    await server.advise(counter).ready;
    scripted.stopGuest();
    await eventually('the count', () => counter.stops === 1);
  });

  it('is told nothing of before advise, and all that this client causes after it, without await', async () => {
    const server = await connect();
    scripted.stopGuest();
    const states: number[] = [];
    const vm = await server.findVirtualMachine('web-1');
    // The answer that tells where the sink begins is slow: what is asked for meanwhile has to wait for it.
    scripted.answerNext(/server/u, (_request, response) => {
      setTimeout(() => response.end(JSON.stringify(scripted.info())), 100);
    });
    server.advise({
      onHeartbeatStopped: () => void states.push(-1),
      onVMStateChange: (_name, state) => void states.push(state),
    });
    await vm.pause();
    await vm.resume();
    await eventually('both states', () => states.length >= 2);
    expect(states).toEqual([VMVMState.vmVMState_Paused, VMVMState.vmVMState_Running]);
  });

  it('begins after a given seq', async () => {
    for (let i = 0; i < 600; i += 1) scripted.stopGuest();
    const server = await connect();
    const seqs: number[] = [];
    server.advise({ onHeartbeatStopped: (_name, event) => void seqs.push(event.seq) }, { after: 10 });
    await eventually('590 events', () => seqs.length === 590);
    expect(seqs[0]).toBe(11);
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
    scripted.stopGuest();
    await eventually('the live one', () => seqs.at(-1) === 601);
  });

  it('refuses an after that is no seq', async () => {
    const server = await connect();
    expect(() => server.advise({}, { after: -1 })).toThrow(expect.objectContaining({ code: 'E_INVALIDARG' }));
  });

  it('is called one method at a time, and not at all after unadvise', async () => {
    const server = await connect();
    let running = 0;
    let most = 0;
    let count = 0;
    const connection: Connection = server.advise({
      async onHeartbeatStopped() {
        running += 1;
        most = Math.max(most, running);
        await new Promise(setImmediate);
        running -= 1;
        count += 1;
        if (count === 3) await connection.unadvise();
      },
    });
    await connection.ready;
    for (let i = 0; i < 10; i += 1) scripted.stopGuest();
    expect(await connection.closed).toBeUndefined();
    expect([most, count]).toEqual([1, 3]);
    expect(connection.seq).toBe(3);
  });

  it('ends with a signal', async () => {
    const server = await connect();
    const abort = new AbortController();
    const connection = server.advise({}, { signal: abort.signal });
    abort.abort();
    expect(await connection.closed).toBeUndefined();
  });

  it('closes its stream with the last sink, and ends with the server object', async () => {
    const server = await connect();
    const first = server.advise({});
    const second = server.advise({});
    await scripted.streaming();
    await first.unadvise();
    expect(scripted.streams.size).toBe(1);
    await second.unadvise();
    await eventually('no stream', () => scripted.streams.size === 0);
    const third = server.advise({});
    await scripted.streaming();
    await server.close();
    await third.closed;
    await eventually('no stream again', () => scripted.streams.size === 0);
    await expect(server.info()).rejects.toMatchObject({ code: 'E_ABORT' });
  });

  it('shares one stream with all other sinks', async () => {
    const server = await connect();
    const told: string[] = [];
    const vm = await server.findVirtualMachine('db-1');
    for (let i = 0; i < 10; i += 1) server.advise({ onHeartbeatStopped: (name) => void told.push(name) });
    await vm.advise({ onHeartbeatStopped: () => void told.push('mine') }).ready;
    await scripted.streaming();
    scripted.stopGuest('db-1');
    await eventually('11 calls', () => told.length === 11);
    expect(told.filter((name) => name === 'mine')).toHaveLength(1);
    expect(scripted.streams.size).toBe(1);
  });
});

describe('a sink of one machine', () => {
  it('is told the events of its machine alone, with the arguments of the original', async () => {
    const server = await connect();
    const vm = await server.findVirtualMachine('WEB-1');
    const told: unknown[] = [];
    vm.advise(
      {
        onStateChange: (state) => void told.push(['state', state]),
        onRequestShutdown: (event) => void told.push(['shutdown', event.data.by]),
        onReset: (event) => void told.push(['reset', event.data.byGuest]),
        onTripleFault: (event) => void told.push(['triple', event.seq]),
        onHeartbeatStopped: (event) => void told.push(['stopped', event.data.verdict]),
        onConfigurationChanged: (key, value) => void told.push([key, value]),
      },
      { after: 0 },
    );
    const [web, db] = scripted.vms;
    scripted.emit('stateChanged', { state: 'running', stateCode: 5, previousState: 'turningOn' }, db);
    scripted.emit('stateChanged', { state: 'running', stateCode: 5, previousState: 'turningOn' }, web);
    scripted.emit('shutdownRequested', { by: 'acpi' }, web);
    scripted.emit('guestReset', { reason: 'guest-reset', byGuest: true }, web);
    scripted.emit('tripleFault', {}, web);
    scripted.stopGuest('db-1');
    scripted.stopGuest('web-1');
    scripted.emit('configurationChanged', { key: 'cpus', value: 2, effective: 'nextStart' }, web);
    await eventually('all', () => told.length === 6);
    expect(told).toEqual([
      ['state', 5],
      ['shutdown', 'acpi'],
      ['reset', true],
      ['triple', 5],
      ['stopped', 'hung'],
      ['cpus', 2],
    ]);
  });

  it('goes on to the event of its deletion, though the server no longer knows the machine', async () => {
    const server = await connect();
    const vm = await server.createVirtualMachine({ name: 'short-lived' });
    const types: string[] = [];
    await vm.advise({ onEvent: (event) => void types.push(event.type) }).ready;
    await scripted.stop();
    const info = scripted.find('short-lived');
    scripted.vms = scripted.vms.filter((other) => other !== info);
    scripted.emit('vmDeleted', {}, info);
    // Expired for the stream, so that the sink has to read pages, which the server refuses for an unknown machine.
    await scripted.listen();
    await eventually('the deletion', () => types.length === 1);
    expect(types).toEqual(['io.vmpulse.vmDeleted']);
    const late: number[] = [];
    vm.advise({ onEvent: (event) => void late.push(event.seq) }, { after: 0 });
    await eventually('the deletion by pages', () => late.length === 1);
  });
});

describe('a sink that fails', () => {
  it('is reported, disturbs no other sink and gets the next event', async () => {
    const server = await connect();
    const onError = vi.fn<(error: VmError, context: object) => void>();
    const others: number[] = [];
    const sink = {
      calls: 0,
      onHeartbeatStopped(): Promise<number> | number {
        this.calls += 1;
        if (this.calls === 1) throw new Error('thrown');
        if (this.calls === 2) return Promise.reject(new Error('rejected'));
        return HResult.E_FAIL;
      },
    };
    await server.advise(sink, { onError }).ready;
    await server.advise({ onEvent: (event) => void others.push(event.seq) }).ready;
    const first = scripted.stopGuest();
    scripted.stopGuest();
    scripted.stopGuest();
    await eventually('three failures', () => onError.mock.calls.length === 3);
    await eventually('three events', () => others.length === 3);
    const [error, context] = onError.mock.calls[0] ?? [];
    expect(error).toBeInstanceOf(VmError);
    expect(error?.message).toContain('thrown');
    expect(context).toEqual({ method: 'onHeartbeatStopped', event: first });
    expect(onError.mock.calls[1]?.[0].message).toContain('rejected');
    expect(onError.mock.calls[2]?.[0].message).toContain('0x80004005 (E_FAIL)');
  });

  it('is complained of on the console when there is no onError, and onError itself may fail', async () => {
    const complaint = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const server = await connect();
    const seqs: number[] = [];
    const fail = (): never => {
      throw new Error('broken');
    };
    await server.advise({ onHeartbeatStopped: fail }).ready;
    await server.advise(
      { onHeartbeatStopped: fail, onEvent: (event) => void seqs.push(event.seq) },
      { onError: fail, onConnectionChange: fail },
    ).ready;
    scripted.stopGuest();
    scripted.stopGuest();
    await eventually('both events', () => seqs.length === 2);
    await eventually('complaints', () => complaint.mock.calls.length >= 4);
  });
});
