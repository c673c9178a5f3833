import { hostname } from 'node:os';
import { guestBounds, VmError } from '@vmpulse/wire';
import { beforeEach, describe, expect, it } from 'vitest';
import { type ScriptedAgent, ServedMachines } from '../../../../test/support/served-machines.ts';
import type { FakeProcess } from '../hypervisor/fake-process.ts';
import { maxGuestPrograms } from '../limits.ts';
import { parameterFile } from './guest-parameters.ts';
import type { GuestProgramResult } from './ports.ts';

let served: ServedMachines;
let vm: string;
let agent: ScriptedAgent;
let process: FakeProcess;

const ended = (change: Partial<GuestProgramResult> = {}): GuestProgramResult => ({
  exitCode: 0,
  signal: null,
  stdout: Buffer.alloc(0),
  stderr: Buffer.alloc(0),
  truncated: false,
  ...change,
});

beforeEach(async () => {
  served = new ServedMachines();
  await served.server.load();
  await served.server.start();
  vm = await served.create();
  agent = served.agent(vm);
  await served.bring(vm, 'running');
  process = served.host.machine(vm);
  process.setPort('agent', true);
  await served.settle();
  agent.asked = [];
});

/** The code that a command ends with, and the field at fault. */
async function failure(promise: Promise<unknown>): Promise<string> {
  const error = VmError.from(
    await promise.then(
      () => new Error('it did not fail'),
      (thrown: unknown) => thrown,
    ),
  );
  return error.field === undefined ? error.code : `${error.code} ${error.field}`;
}

const commands = {
  execute: () => served.server.guests.execute('web-1', { path: 'true' }),
  parameter: () => served.server.guests.parameter('web-1', 'a'),
  setParameter: () => served.server.guests.setParameter('web-1', 'a', { value: 'v' }),
  freeze: () => served.server.guests.freeze('web-1', {}),
  thaw: () => served.server.guests.thaw('web-1'),
};

describe.each(Object.entries(commands))('%s', (_name, command) => {
  it('of a machine that is off is VM_E_VM_NOT_RUNNING', async () => {
    await served.run(vm, 'turnOff');
    expect(await failure(command())).toBe('VM_E_VM_NOT_RUNNING');
    await served.run(vm, 'startup');
    await served.run(vm, 'save');
    expect(await failure(command())).toBe('VM_E_VM_NOT_RUNNING');
  });

  it('of a paused machine is VM_E_VM_PAUSED', async () => {
    await served.run(vm, 'pause');
    expect(await failure(command())).toBe('VM_E_VM_PAUSED');
    expect(agent.asked).toEqual([]);
  });

  it('of a guest whose agent does not answer, or not yet again, is VM_E_ADDITIONS_NOT_AVAIL', async () => {
    process.setPort('agent', false);
    await served.settle();
    expect(await failure(command())).toBe('VM_E_ADDITIONS_NOT_AVAIL');
    process.setPort('agent', true);
    process.guestReset();
    expect(await failure(command())).toBe('VM_E_ADDITIONS_NOT_AVAIL');
  });

  it('of a machine that is not there is VM_E_VM_UNKNOWN, of a service that stops VM_E_APP_SHUTTING_DOWN', async () => {
    const { guests } = served.server;
    expect(await failure(guests.thaw('web-2'))).toBe('VM_E_VM_UNKNOWN');
    await served.server.stop();
    expect(await failure(command())).toBe('VM_E_APP_SHUTTING_DOWN');
  });
});

describe('executeCommand', () => {
  const execute = (request: unknown): Promise<unknown> => served.server.guests.execute(vm, request);

  it('hands program, arguments and input over as they are, and answers how it ended', async () => {
    let input: Uint8Array | undefined;
    agent.onExecute = (_path, _args, options) => {
      input = options.input;
      return ended({ exitCode: 3, stdout: Buffer.from('ü\n'), stderr: Buffer.from([0xff, 0x0a]) });
    };
    expect(await execute({ path: '/bin/x', args: ['a b', '$c'], input: 'in', timeoutMs: 1_000 })).toEqual({
      exitCode: 3,
      signal: null,
      stdout: { text: 'ü\n', base64: null },
      stderr: { text: '\ufffd\n', base64: '/wo=' },
      truncated: false,
      durationMs: 0,
    });
    expect(agent.asked).toEqual(['execute /bin/x a b $c']);
    expect(Buffer.from(input ?? []).toString()).toBe('in');
  });

  it('leaves out the character that the bound of the output went through', async () => {
    const long = Buffer.from('x'.repeat(guestBounds.maxOutputBytes - 2) + 'üü').subarray(
      0,
      guestBounds.maxOutputBytes,
    );
    const cut = long.subarray(0, guestBounds.maxOutputBytes);
    agent.onExecute = () =>
      ended({ stdout: Buffer.concat([Buffer.from('x'), cut]).subarray(0, cut.length), truncated: true });
    const { stdout, truncated } = (await execute({ path: 'x' })) as {
      stdout: { text: string; base64: null };
      truncated: boolean;
    };
    expect(truncated).toBe(true);
    expect(stdout.base64).toBeNull();
    expect(stdout.text.endsWith('x')).toBe(true);
    expect(Buffer.byteLength(stdout.text)).toBe(guestBounds.maxOutputBytes - 1);
  });

  it.each([
    [[], 'E_INVALIDARG'],
    [{}, 'E_INVALIDARG /path'],
    [{ path: '' }, 'E_INVALIDARG /path'],
    [{ path: 'a\0b' }, 'E_INVALIDARG /path'],
    [{ path: 'a', args: 'b' }, 'E_INVALIDARG /args'],
    [{ path: 'a', args: [1] }, 'E_INVALIDARG /args'],
    [{ path: 'a', args: ['\0'] }, 'E_INVALIDARG /args'],
    [{ path: 'a', args: Array.from({ length: 1_025 }, () => '') }, 'E_INVALIDARG /args'],
    [{ path: 'a', input: 7 }, 'E_INVALIDARG /input'],
    [{ path: 'a', input: '\ud800' }, 'E_INVALIDARG /input'],
    [{ path: 'a', timeoutMs: 99 }, 'E_INVALIDARG /timeoutMs'],
    [{ path: 'a', timeoutMs: 60_001 }, 'E_INVALIDARG /timeoutMs'],
    [{ path: 'a', timeoutMs: '1000' }, 'E_INVALIDARG /timeoutMs'],
    [{ path: 'a', shell: true }, 'E_INVALIDARG /shell'],
    [{ path: 'a', 'x/y~': 1 }, 'E_INVALIDARG /x~1y~0'],
  ])('refuses %j before the guest hears of it', async (request, code) => {
    expect(await failure(execute(request))).toBe(code);
    expect(agent.asked).toEqual([]);
  });

  it.each([
    ['E_FAIL', 'Failed to execute child process “x” (No such file or directory)', 'E_FILE_NOT_FOUND /path'],
    ['E_FAIL', 'Permission denied', 'E_FAIL'],
    ['VM_E_ADDITIONS_FEATURE_NOT_AVAIL', 'disabled', 'VM_E_ADDITIONS_FEATURE_NOT_AVAIL'],
    ['VM_E_TIMED_OUT', 'late', 'VM_E_TIMED_OUT'],
    ['E_BUFFER_OVERFLOW', 'too long', 'E_BUFFER_OVERFLOW'],
  ] as const)('that the agent ends with %s (%s) ends with %s', async (code, detail, expected) => {
    agent.failures.set('execute', new VmError(code, detail));
    expect(await failure(execute({ path: 'x' }))).toBe(expected);
  });

  it('is refused while the file systems are frozen, with what to do', async () => {
    await served.server.guests.freeze(vm, {});
    expect(await failure(execute({ path: 'x' }))).toBe('VM_E_ADDITIONS_FEATURE_NOT_AVAIL');
    await served.server.guests.thaw(vm);
    expect(await execute({ path: 'x' })).toMatchObject({ exitCode: 0 });
  });

  it('is waited for so many times at once and no more', async () => {
    agent.answers = false;
    const under = Array.from({ length: maxGuestPrograms }, () => execute({ path: 'x' }));
    for (const one of under) one.catch(() => undefined);
    expect(await failure(execute({ path: 'x' }))).toBe('VM_E_OUT_OF_RESOURCE');
    expect(agent.asked).toHaveLength(maxGuestPrograms);
  });
});

describe('parameters', () => {
  const text = (path: string): string => Buffer.from(agent.files.get(path) ?? []).toString();

  /** The guest's mkdir and mv. */
  function makeFileSystem(): void {
    const write = agent.writeFile.bind(agent);
    let made = false;
    agent.writeFile = async (path, content) => {
      if (!made) throw new VmError('E_FAIL', 'failed to open file: No such file or directory');
      return write(path, content);
    };
    agent.onExecute = (program, args) => {
      if (program === 'mkdir') made = true;
      const to = args.at(-1) ?? '';
      for (const from of program === 'mv' ? args.slice(1, -1) : []) {
        agent.files.set(`${to}/${from.split('/').at(-1)}`, agent.files.get(from) ?? new Uint8Array());
        agent.files.delete(from);
      }
      return ended();
    };
  }

  it('are files that the guest sees whole or not at all, made together with their directory', async () => {
    makeFileSystem();
    const { guests } = served.server;
    expect(await guests.setParameter(vm, 'role', { value: 'database ü' })).toEqual({
      name: 'role',
      value: 'database ü',
    });
    expect(text('/run/vmpulse/parameters/role')).toBe('database ü');
    expect(agent.asked.some((word) => word.startsWith('execute chmod 0644 /run/vmpulse/incoming/'))).toBe(
      true,
    );
    expect(await guests.parameter(vm, 'role')).toEqual({ name: 'role', value: 'database ü' });
    agent.files.set('/run/vmpulse/parameters/role', Buffer.from('changed by the guest'));
    expect(await guests.parameter(vm, 'role')).toEqual({ name: 'role', value: 'changed by the guest' });
  });

  it('that are set at the same time do not meet, and one that fails holds none up', async () => {
    makeFileSystem();
    const { guests } = served.server;
    agent.failures.set('writeFile', new VmError('VM_E_TIMED_OUT', 'late'));
    const values = ['a', 'b', 'c'];
    const outcomes = await Promise.allSettled(
      values.map((value) => guests.setParameter(vm, 'role', { value })),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
    expect(text('/run/vmpulse/parameters/role')).toBe('c');
    expect([...agent.files.keys()].filter((path) => path.startsWith('/run/vmpulse/incoming/r'))).toEqual([]);
  });

  it('that tell of host and machine are set at each boot', async () => {
    makeFileSystem();
    process.guestReset();
    process.setPort('agent', true);
    await served.settle();
    await served.settle();
    expect(text('/run/vmpulse/parameters/VirtualMachineName')).toBe('web-1');
    expect(text('/run/vmpulse/parameters/HostName')).toBe(hostname());
    expect(text('/run/vmpulse/parameters/PhysicalHostName')).toBe(hostname().split('.')[0]);
    expect(text('/run/vmpulse/parameters/PhysicalHostNameFullyQualified')).toBe(hostname());
  });

  it('that are not set are E_INVALIDARG', async () => {
    expect(await failure(served.server.guests.parameter(vm, 'role'))).toBe('E_INVALIDARG /name');
  });

  it.each(['', 'x'.repeat(256), 'a\\b', 'a\0b'])('are not named %j', async (name) => {
    expect(await failure(served.server.guests.parameter(vm, name))).toBe('E_INVALIDARG /name');
    expect(await failure(served.server.guests.setParameter(vm, name, { value: '' }))).toBe(
      'E_INVALIDARG /name',
    );
  });

  it.each([
    [{}, '/value'],
    [{ value: 7 }, '/value'],
    [{ value: 'a\0' }, '/value'],
    [{ value: 'ü'.repeat(32_769) }, '/value'],
    [{ value: '', more: 1 }, '/more'],
  ])('do not take %j', async (request, field) => {
    expect(await failure(served.server.guests.setParameter(vm, 'a', request))).toBe(`E_INVALIDARG ${field}`);
    expect(agent.asked).toEqual([]);
  });

  it('of a guest that keeps none are VM_E_ADDITIONS_FEATURE_NOT_AVAIL', async () => {
    const { guests } = served.server;
    agent.failures.set('readFile', new VmError('E_FAIL', 'The system cannot find the path specified.'));
    expect(await failure(guests.parameter(vm, 'a'))).toBe('VM_E_ADDITIONS_FEATURE_NOT_AVAIL');
    agent.failures.set('writeFile', new VmError('VM_E_ADDITIONS_FEATURE_NOT_AVAIL', 'disabled'));
    expect(await failure(guests.setParameter(vm, 'a', { value: '' }))).toBe(
      'VM_E_ADDITIONS_FEATURE_NOT_AVAIL',
    );
    agent.failures.set('writeFile', new VmError('E_FAIL', 'No such file or directory'));
    agent.onExecute = () => ended({ exitCode: 1, stderr: Buffer.from('mkdir: read-only\u001b[2J') });
    await expect(guests.setParameter(vm, 'a', { value: '' })).rejects.toMatchObject({
      code: 'VM_E_ADDITIONS_FEATURE_NOT_AVAIL',
      message: expect.stringContaining('mkdir: read-only [2J') as string,
    });
  });
});

it.each([
  ['HostName', 'HostName'],
  ['a b/c', 'a%20b%2Fc'],
  ['..', '%2E.'],
  ['.hidden.txt', '%2Ehidden.txt'],
  ['ü', '%C3%BC'],
  ['x'.repeat(255), 'x'.repeat(255)],
  ['%', '%25'],
])('the file of parameter %s is %s', (name, file) => {
  expect(parameterFile(name)).toBe(file);
});

it('the file of a parameter whose name is too long for one is named by its hash', () => {
  expect(parameterFile('ü'.repeat(255))).toMatch(/^%sha256-[0-9a-f]{64}$/u);
  expect(parameterFile('ü'.repeat(254))).not.toBe(parameterFile('ü'.repeat(255)));
});
