import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ScriptedServer } from '../../../test/support/scripted-server.ts';
import { type HoldOptions, VirtualServer } from './index.ts';

let scripted: ScriptedServer;
let server: VirtualServer;

beforeEach(async () => {
  scripted = await ScriptedServer.start();
  scripted.addVm('web-1', { state: 'running' });
  server = await VirtualServer.connect(scripted.url);
});

afterEach(async () => {
  await server.close();
  await scripted.stop();
});

describe('a hold', () => {
  it('on a machine is begun, seen on it and ended', async () => {
    const vm = await server.findVirtualMachine('web-1');
    const hold = await vm.hold({ minutes: 30, reason: 'backup' });
    expect(hold).toEqual({
      scope: 'vm',
      vm: { id: vm.id, name: 'web-1' },
      reason: 'backup',
      since: '2023-11-14T22:13:20.000Z',
      until: '2023-11-14T22:43:20.000Z',
    });
    expect(scripted.requests.at(-1)).toBe(`PUT /v1/vms/${vm.id}/hold`);
    expect(scripted.bodies.at(-1)).toEqual({ seconds: 1_800, reason: 'backup' });
    expect((await vm.refresh()).guest.hold).toEqual(hold);
    expect(await server.holds()).toEqual([hold]);
    await vm.release();
    expect((await vm.refresh()).guest.hold).toBeNull();
    await expect(vm.release()).rejects.toMatchObject({ code: 'VMPULSE_E_NOT_FOUND' });
  });

  it('on all machines is one of its own', async () => {
    const vm = await server.findVirtualMachine('web-1');
    await vm.hold({ seconds: 1, reason: 'mine' });
    expect(await server.hold({ hours: 1, reason: 'upgrade' })).toMatchObject({ scope: 'all' });
    expect((await server.holds()).map(({ reason }) => reason)).toEqual(['mine', 'upgrade']);
    await server.release();
    expect((await server.holds()).map(({ reason }) => reason)).toEqual(['mine']);
    await expect(server.release()).rejects.toMatchObject({ code: 'VMPULSE_E_NOT_FOUND' });
  });

  it.each<[HoldOptions, number]>([
    [{ seconds: 90, reason: 'r' }, 90],
    [{ days: 1, hours: 2, minutes: 3, seconds: 4, reason: 'r' }, 93_784],
    [{ minutes: 0.5, reason: 'r' }, 30],
  ])('of %j lasts %i seconds', async (options, seconds) => {
    await server.hold(options);
    expect(scripted.bodies.at(-1)).toEqual({ seconds, reason: 'r' });
  });

  it('without a length is refused here, for it would have no end', async () => {
    await expect(server.hold({ reason: 'for ever' })).rejects.toMatchObject({ code: 'E_INVALIDARG' });
    expect(scripted.requests.filter((line) => line.startsWith('PUT'))).toEqual([]);
  });

  it('that is no hold in the answer is an error of the client', async () => {
    scripted.answerNext(/PUT/u, (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"scope":"everything"}');
    });
    await expect(server.hold({ days: 1, reason: 'r' })).rejects.toMatchObject({ code: 'E_UNEXPECTED' });
  });
});
