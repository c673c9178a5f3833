import { type AddressInfo, createServer } from 'node:net';
import { VmError } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ScriptedServer } from '../../../test/support/scripted-server.ts';
import { VirtualServer } from './index.ts';

let scripted: ScriptedServer;
let server: VirtualServer;

beforeEach(async () => {
  scripted = await ScriptedServer.start();
  scripted.token = 'secret';
  scripted.addVm('web-1', { state: 'running' });
  server = await VirtualServer.connect(scripted.url, { token: 'secret', timeoutMs: 60_000 });
});

afterEach(async () => {
  await server.close();
  await scripted.stop();
});

describe('connecting', () => {
  it('tells who answers', async () => {
    expect(await server.info()).toMatchObject({ id: scripted.id, name: 'host-1', vms: { running: 1 } });
    expect(server.address).toBe(scripted.url);
  });

  it.each([
    ['nothing at all', 'E_INVALIDARG'],
    ['ftp://127.0.0.1', 'E_INVALIDARG'],
    ['unix:/run/vmpulse.sock', 'E_INVALIDARG'],
  ])('refuses the address %s', async (address, code) => {
    await expect(VirtualServer.connect(address)).rejects.toMatchObject({ code });
  });

  it('says what to do when nobody answers', async () => {
    await scripted.stop();
    const error = await VirtualServer.connect(scripted.url).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(VmError);
    expect(error).toMatchObject({ code: 'VMPULSE_E_UNREACHABLE' });
    expect(String(error)).toMatch(/ECONNREFUSED.*vmpulse serve/u);
  });

  it('has a deadline', async () => {
    const silent = createServer(() => undefined).listen(0, '127.0.0.1');
    await new Promise((resolve) => {
      silent.once('listening', resolve);
    });
    const address = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    await expect(VirtualServer.connect(address, { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'VM_E_TIMED_OUT',
    });
    const signal = AbortSignal.timeout(20);
    await expect(VirtualServer.connect(address, { signal })).rejects.toMatchObject({ code: 'E_ABORT' });
    silent.close();
  });

  it('has a deadline for the body of an answer too', async () => {
    scripted.answerNext(/server/u, (_request, response) => void response.writeHead(200).write('{"id":'));
    await expect(server.info({ timeoutMs: 50 })).rejects.toMatchObject({ code: 'VM_E_TIMED_OUT' });
  });

  it('is undone by close(), which ends requests under way', async () => {
    scripted.answerNext(/server/u, () => undefined);
    const info = server.info();
    await server.close();
    await expect(info).rejects.toMatchObject({ code: 'E_ABORT' });
    await expect(server.virtualMachines()).rejects.toMatchObject({ code: 'E_ABORT' });
  });

  it('needs the token', async () => {
    await expect(VirtualServer.connect(scripted.url)).rejects.toMatchObject({
      code: 'VMPULSE_E_UNAUTHENTICATED',
      message: expect.stringContaining('DIR/token') as string,
    });
  });

  it.each([
    [404, '<html>', 'E_UNEXPECTED'],
    [401, '', 'VMPULSE_E_UNAUTHENTICATED'],
    [403, 'no', 'E_ACCESSDENIED'],
    [502, 'Bad Gateway', 'VMPULSE_E_UNREACHABLE'],
    [500, '{"code":"E_MADE_UP"}', 'E_UNEXPECTED'],
    [200, '<html>', 'E_UNEXPECTED'],
    [200, '[]', 'E_UNEXPECTED'],
    [200, '{"id":"x","seq":-1,"oldestSeq":1}', 'E_UNEXPECTED'],
    [301, '', 'VMPULSE_E_UNREACHABLE'],
  ])('makes an error of HTTP %i %s', async (status, body, code) => {
    scripted.answerNext(/server/u, (_request, response) => {
      response.writeHead(status, status === 301 ? { location: '/v1/server?again' } : {}).end(body);
    });
    await expect(server.info()).rejects.toMatchObject({ code });
  });
});

describe('machines', () => {
  it('are found by name in any case and by id, and not found as VM_E_VM_UNKNOWN or undefined', async () => {
    const vm = await server.findVirtualMachine('WEB-1');
    expect((await server.findVirtualMachine(vm.id)).name).toBe('web-1');
    for (const name of ['web-2', '', '..', 'a/b?c']) {
      await expect(server.findVirtualMachine(name)).rejects.toMatchObject({
        code: 'VM_E_VM_UNKNOWN',
        hresult: 0xa0040207,
      });
      expect(await server.tryFindVirtualMachine(name)).toBeUndefined();
    }
    await expect(server.tryFindVirtualMachine('web-1')).resolves.toMatchObject({
      state: 'running',
      stateCode: 5,
    });
  });

  it('are listed, created, changed and deleted', async () => {
    const vm = await server.createVirtualMachine({ name: 'a b/ü', memoryMiB: 256 });
    expect(scripted.bodies.at(-1)).toEqual({ name: 'a b/ü', memoryMiB: 256 });
    expect((await server.virtualMachines()).map((one) => one.name)).toEqual(['web-1', 'a b/ü']);
    expect((await server.findVirtualMachine('a b/ü')).id).toBe(vm.id);
    await vm.change({ name: 'renamed', cpus: 2 });
    expect([vm.name, vm.info.cpus]).toEqual(['renamed', 2]);
    await expect(server.createVirtualMachine({ name: 'Renamed' })).rejects.toMatchObject({
      code: 'VM_E_CONFIG_DUPLICATE_NAME',
    });
    await server.deleteVirtualMachine('renamed');
    await expect(vm.refresh()).rejects.toMatchObject({ code: 'VM_E_VM_UNKNOWN' });
    await expect(server.deleteVirtualMachine('web-1')).rejects.toMatchObject({ code: 'VM_E_VM_RUNNING' });
  });

  it('have configuration values', async () => {
    const vm = await server.findVirtualMachine('web-1');
    const key = 'integration/microsoft/heartbeat/rate';
    await expect(vm.getConfigurationValue(key)).rejects.toMatchObject({ code: 'VM_E_PREF_NOT_FOUND' });
    await expect(vm.getConfigurationValue('toString')).rejects.toMatchObject({ code: 'VM_E_PREF_NOT_FOUND' });
    await vm.setConfigurationValue(key, 20);
    expect(await vm.getConfigurationValue(key)).toBe(20);
    await vm.removeConfigurationValue(key);
    await expect(vm.removeConfigurationValue(key)).rejects.toMatchObject({ code: 'VM_E_PREF_NOT_FOUND' });
  });

  it('take every operation by its route, and answer a task', async () => {
    const vm = await server.findVirtualMachine('web-1');
    for (const operate of [
      () => vm.pause(),
      () => vm.resume(),
      () => vm.reset(),
      () => vm.injectNmi(),
      () => vm.save(),
      () => vm.discardSavedState(),
      () => vm.startup(),
      () => vm.guestOS.shutdown(),
      () => vm.startup(),
      () => vm.turnOff(),
    ]) {
      expect((await (await operate()).waitForCompletion()).result).toBe('success');
    }
    expect((await vm.refresh()).state).toBe('turnedOff');
    await expect(vm.pause()).rejects.toMatchObject({ code: 'VM_E_VM_NOT_RUNNING', status: 409 });
    const tasks = (await server.tasks()).map((task) => task.info.operation);
    expect(tasks).toEqual([
      'pause',
      'resume',
      'reset',
      'injectNmi',
      'save',
      'discardSavedState',
      'startup',
      'shutdown',
      'startup',
      'turnOff',
    ]);
    expect((await server.task('t1')).description).toBe('pause web-1');
  });
});

describe('events', () => {
  const seqs = async (events: AsyncIterable<{ seq: number }>): Promise<number[]> => {
    const found: number[] = [];
    for await (const event of events) found.push(event.seq);
    return found;
  };

  beforeEach(() => {
    scripted.addVm('db-1');
    for (let i = 0; i < 300; i += 1) scripted.stopGuest(i % 2 === 0 ? 'web-1' : 'db-1');
    scripted.emit('serviceStopped', { messageId: 2, reason: 'upgrade' });
  });

  it('come in pages', async () => {
    const page = await server.listEvents({ after: 4, limit: 2 });
    expect([page.events.map((event) => event.seq), page.next]).toEqual([[5, 6], 6]);
    const filtered = await server.listEvents({ vm: 'db-1', types: ['vmCreated'] });
    expect(filtered).toEqual({ events: [], next: 301 });
  });

  it('are iterated over to the newest', async () => {
    expect(await seqs(server.events({ follow: false }))).toHaveLength(301);
    expect(await seqs(server.events({ follow: false, after: 299 }))).toEqual([300, 301]);
    expect(await seqs(server.events({ follow: false, vm: 'db-1' }))).toHaveLength(150);
    expect(await seqs(server.events({ follow: false, types: ['serviceStopped'] }))).toEqual([301]);
  });

  it('are followed until the loop is left', async () => {
    const found: number[] = [];
    for await (const event of server.events({ after: 290, vm: 'web-1' })) {
      found.push(event.seq);
      if (found.length === 5) scripted.stopGuest('web-1');
      if (found.length === 6) break;
    }
    expect(found).toEqual([291, 293, 295, 297, 299, 302]);
  });

  it('are followed until a signal', async () => {
    const abort = new AbortController();
    const all = seqs(server.events({ signal: abort.signal, after: 300 }));
    await scripted.streaming();
    abort.abort();
    expect((await all).every((seq) => seq === 301)).toBe(true);
    expect(await seqs(server.events({ signal: abort.signal }))).toEqual([]);
  });

  it('that are gone end the loop, or are told', async () => {
    scripted.oldestSeq = 300;
    scripted.log = scripted.log.slice(299);
    await expect(seqs(server.events({ after: 0 }))).rejects.toMatchObject({
      code: 'VMPULSE_E_CURSOR_EXPIRED',
    });
    await expect(seqs(server.events({ after: 0, follow: false }))).rejects.toMatchObject({
      code: 'VMPULSE_E_CURSOR_EXPIRED',
    });
    const gaps: unknown[] = [];
    for await (const event of server.events({ after: 0, onGap: (gap) => void gaps.push(gap) })) {
      expect(event.seq).toBe(300);
      break;
    }
    expect(gaps).toEqual([{ reason: 'expired', from: 1, to: 299 }]);
  });

  it('of an unknown machine or type are refused', async () => {
    await expect(seqs(server.events({ vm: 'nope' }))).rejects.toMatchObject({ code: 'VM_E_VM_UNKNOWN' });
    const types = ['heartbeatStoped' as 'heartbeatStopped'];
    await expect(seqs(server.events({ types }))).rejects.toMatchObject({ code: 'E_INVALIDARG' });
  });
});
