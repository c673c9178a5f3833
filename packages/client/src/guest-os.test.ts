import { setTimeout as delay } from 'node:timers/promises';
import type { GuestInfo, VmState } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
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

describe('what is asked of a guest', () => {
  let guestOS: GuestOS;

  beforeEach(async () => {
    scripted.addVm('web-1');
    ({ guestOS } = await server.findVirtualMachine('web-1'));
  });

  /** Answers the next request with `body`; what was asked is among the server's requests and bodies. */
  function answer(body: unknown): void {
    scripted.answerNext(/\/guest\//u, (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    });
  }

  const asked = (): unknown => [
    scripted.requests.at(-1)?.replace(/\/v1\/vms\/[^/]+/u, ''),
    scripted.bodies.at(-1),
  ];

  it('executeCommand runs a program with its arguments and input', async () => {
    const result = {
      exitCode: 3,
      signal: null,
      stdout: { text: 'a', base64: null },
      stderr: { text: '', base64: null },
      truncated: false,
      durationMs: 5,
    };
    answer(result);
    expect(await guestOS.executeCommand('df', ['-h'], { input: 'x', timeoutMs: 500 })).toEqual(result);
    expect(asked()).toEqual([
      'POST /guest/execute',
      { path: 'df', args: ['-h'], input: 'x', timeoutMs: 500 },
    ]);
  });

  it('executeCommand waits as long as the program may take, and no longer', async () => {
    // All others have 50 ms, which a busy machine may need several attempts for.
    const slow = await vi.waitFor(() => VirtualServer.connect(scripted.url, { timeoutMs: 50 }), 120_000);
    const vm = await vi.waitFor(() => slow.findVirtualMachine('web-1'), 120_000);
    scripted.answerNext(/\/guest\/execute/u, async (_request, response) => {
      await delay(300);
      response.end(JSON.stringify({ stdout: { text: '' }, stderr: { text: '' }, exitCode: 0 }));
    });
    expect(await vm.guestOS.executeCommand('sleep', ['0.3'])).toMatchObject({ exitCode: 0 });
    const aborting = new AbortController();
    scripted.answerNext(/\/guest\/execute/u, () => aborting.abort());
    const aborted = vm.guestOS.executeCommand('sleep', ['9'], { signal: aborting.signal });
    await expect(aborted).rejects.toMatchObject({ code: 'E_ABORT' });
    await slow.close();
  });

  it('parameters are named by anything that a path can hold', async () => {
    answer({ name: 'a/b ü', value: 'v' });
    expect(await guestOS.getParameter('a/b ü')).toBe('v');
    expect(asked()).toEqual(['GET /guest/parameters/a%2Fb%20%C3%BC', undefined]);
    answer({ name: 'a', value: '' });
    await guestOS.setParameter('a', '');
    expect(asked()).toEqual(['PUT /guest/parameters/a', { value: '' }]);
    const before = scripted.requests.length;
    for (const name of ['', '.', '..', '\ud800']) {
      await expect(guestOS.getParameter(name)).rejects.toMatchObject({ code: 'E_INVALIDARG' });
    }
    expect(scripted.requests).toHaveLength(before);
  });

  it('file systems are frozen for a time, and thawed', async () => {
    answer({ fileSystems: 2 });
    expect(await guestOS.freezeFileSystems({ timeoutMs: 5_000 })).toBe(2);
    expect(asked()).toEqual(['POST /guest/freeze', { timeoutMs: 5_000 }]);
    answer({ fileSystems: 2 });
    expect(await guestOS.thawFileSystems()).toBe(2);
    expect(asked()).toEqual(['POST /guest/thaw', undefined]);
  });

  it('errors of the server are its own, answers of another shape are E_UNEXPECTED', async () => {
    scripted.refuseNext(/\/guest\/thaw/u, new VmError('VM_E_ADDITIONS_NOT_AVAIL', 'no agent'));
    await expect(guestOS.thawFileSystems()).rejects.toMatchObject({ code: 'VM_E_ADDITIONS_NOT_AVAIL' });
    const asks = [
      () => guestOS.executeCommand('x'),
      () => guestOS.getParameter('x'),
      () => guestOS.setParameter('x', 'y'),
      () => guestOS.freezeFileSystems(),
      () => guestOS.thawFileSystems(),
    ];
    for (const ask of asks) {
      answer({ stdout: 'x' });
      await expect(ask()).rejects.toMatchObject({ code: 'E_UNEXPECTED' });
    }
  });
});
