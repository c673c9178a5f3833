import type { GuestInfo, VmState } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ScriptedServer } from '../../../test/support/scripted-server.ts';
import { type GuestOS, VirtualServer, VmError } from './index.ts';

let scripted: ScriptedServer;
let server: VirtualServer;

beforeEach(async () => {
  scripted = await ScriptedServer.start();
  server = await VirtualServer.connect(scripted.url);
});

afterEach(async () => {
  await server.close();
  await scripted.stop();
});

const ticking: Partial<GuestInfo> = {
  isHeartbeating: true,
  heartbeatPercentage: 98,
  verdict: 'alive',
  additions: { version: '1.0.0' },
  osName: 'Debian GNU/Linux 12',
  computerName: 'web-1',
  canShutdown: true,
};
const none: Partial<GuestInfo> = { verdict: 'notObserved' };
const offNow: Partial<GuestInfo> = {
  verdict: 'notObserved',
  additions: { version: '1.0.0' },
  osName: 'Debian',
};

const members = {
  isHeartbeating: (guest: GuestOS) => guest.isHeartbeating(),
  heartbeatPercentage: (guest: GuestOS) => guest.heartbeatPercentage(),
  osName: (guest: GuestOS) => guest.osName(),
  computerName: (guest: GuestOS) => guest.computerName(),
  additionsVersion: (guest: GuestOS) => guest.additionsVersion(),
  canShutdown: (guest: GuestOS) => guest.canShutdown(),
};

type Row = [string, VmState, Partial<GuestInfo>, Record<keyof typeof members, unknown>];

describe('a guest', () => {
  it.each<Row>([
    [
      'that ticks',
      'running',
      ticking,
      {
        isHeartbeating: true,
        heartbeatPercentage: 98,
        osName: 'Debian GNU/Linux 12',
        computerName: 'web-1',
        additionsVersion: '1.0.0',
        canShutdown: true,
      },
    ],
    [
      'without additions',
      'running',
      none,
      {
        isHeartbeating: 'VM_E_ADDITIONS_NOT_AVAIL',
        heartbeatPercentage: 'VM_E_ADDITIONS_NOT_AVAIL',
        osName: 'VM_E_ADDITIONS_FEATURE_NOT_AVAIL',
        computerName: 'VM_E_ADDITIONS_FEATURE_NOT_AVAIL',
        additionsVersion: 'VM_E_ADDITIONS_NOT_AVAIL',
        canShutdown: 'VM_E_ADDITIONS_NOT_AVAIL',
      },
    ],
    [
      'that boots again',
      'running',
      { ...ticking, verdict: 'booting', isHeartbeating: false, canShutdown: false },
      {
        isHeartbeating: 'VM_E_ADDITIONS_NOT_AVAIL',
        heartbeatPercentage: 'VM_E_ADDITIONS_NOT_AVAIL',
        osName: 'Debian GNU/Linux 12',
        computerName: 'web-1',
        additionsVersion: '1.0.0',
        canShutdown: 'VM_E_ADDITIONS_NOT_AVAIL',
      },
    ],
    [
      'that hangs',
      'running',
      { ...ticking, verdict: 'hung', isHeartbeating: false, heartbeatPercentage: 40, canShutdown: false },
      {
        isHeartbeating: false,
        heartbeatPercentage: 40,
        osName: 'Debian GNU/Linux 12',
        computerName: 'web-1',
        additionsVersion: '1.0.0',
        canShutdown: false,
      },
    ],
    [
      'that is paused',
      'paused',
      { ...ticking, verdict: 'suspended', isHeartbeating: false, canShutdown: false },
      {
        isHeartbeating: false,
        heartbeatPercentage: 98,
        osName: 'Debian GNU/Linux 12',
        computerName: 'VM_E_VM_PAUSED',
        additionsVersion: '1.0.0',
        canShutdown: false,
      },
    ],
    [
      'of a machine that is off',
      'turnedOff',
      offNow,
      {
        isHeartbeating: 'VM_E_VM_NOT_RUNNING',
        heartbeatPercentage: 'VM_E_VM_NOT_RUNNING',
        osName: 'VM_E_VM_NOT_RUNNING',
        computerName: 'VM_E_VM_NOT_RUNNING',
        additionsVersion: '1.0.0',
        canShutdown: 'VM_E_VM_NOT_RUNNING',
      },
    ],
  ])('%s answers as the original', async (_what, state, guest, expected) => {
    scripted.addVm('web-1', { state, guest });
    const { guestOS } = await server.findVirtualMachine('web-1');
    const answers: Record<string, unknown> = {};
    for (const [name, ask] of Object.entries(members)) {
      answers[name] = await ask(guestOS).catch((error: unknown) =>
        error instanceof VmError ? error.code : error,
      );
    }
    expect(answers).toEqual(expected);
    expect((await guestOS.info()).verdict).toBe(guest.verdict);
  });

  it('of a deleted machine is VM_E_VM_UNKNOWN', async () => {
    scripted.addVm('web-1');
    const vm = await server.findVirtualMachine('web-1');
    await vm.delete();
    await expect(vm.guestOS.osName()).rejects.toMatchObject({ code: 'VM_E_VM_UNKNOWN' });
  });
});
