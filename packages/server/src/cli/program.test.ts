import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type VmInfo, VmError } from '@vmpulse/client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../../../../test/support/eventually.ts';
import { ScriptedServer } from '../../../../test/support/scripted-server.ts';
import { ScriptedTerminal } from '../../../../test/support/scripted-terminal.ts';
import { needsService, runProgram } from './program.ts';

let directory: string;
let scripted: ScriptedServer;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-cli-'));
  scripted = await ScriptedServer.start({ path: join(directory, 'vmpulse.sock') });
});

afterEach(async () => {
  await scripted.stop();
  await rm(directory, { recursive: true });
});

function begin(...args: string[]): { terminal: ScriptedTerminal; code: Promise<number> } {
  const terminal = new ScriptedTerminal({ VMPULSE_DATA: directory }, directory);
  return { terminal, code: runProgram(args, terminal, '1.2.3', () => Promise.resolve([])) };
}

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { terminal, code } = begin(...args);
  return { code: await code, out: terminal.output, err: terminal.errors };
}

describe('vmpulse vm', () => {
  it('create sends flags, with paths made absolute', async () => {
    const flags = [
      '--memory 1024 --cpus 2 --disk a.qcow2 --disk /b.raw --kernel vmlinuz --initrd ../initrd --cmdline quiet',
      '--interval 100 --watchdog --autostart',
    ];
    const { code, out } = await run('vm', 'create', 'web-1', ...flags.join(' ').split(' '));
    expect([code, out]).toEqual([
      0,
      expect.stringMatching(/^created 'web-1' \(\S+\); start it: vmpulse vm startup web-1$/u),
    ]);
    expect(scripted.bodies.at(-1)).toEqual({
      name: 'web-1',
      memoryMiB: 1024,
      cpus: 2,
      disks: [{ file: join(directory, 'a.qcow2') }, { file: '/b.raw' }],
      boot: { kernel: join(directory, 'vmlinuz'), initrd: join(directory, '../initrd'), cmdline: 'quiet' },
      heartbeat: { intervalMs: 100 },
      watchdog: { model: 'i6300esb', action: 'reset' },
      autostart: { action: 'always' },
    });
  });

  it('create takes a file, whose paths are relative to it and which flags beat', async () => {
    await mkdir(join(directory, 'configurations'));
    const file = {
      memoryMiB: 256,
      boot: { kernel: 'k' },
      disks: [{ file: 'd.raw', readOnly: true }],
      heartbeat: { intervalMs: 500, watch: false },
    };
    await writeFile(join(directory, 'configurations/vm.json'), JSON.stringify(file));
    await run(
      'vm',
      'create',
      'x',
      '--file',
      'configurations/vm.json',
      '--memory',
      '512',
      '--interval',
      '250',
      '--cmdline',
      'q',
    );
    expect(scripted.bodies.at(-1)).toEqual({
      name: 'x',
      memoryMiB: 512,
      boot: { kernel: join(directory, 'configurations/k'), cmdline: 'q' },
      disks: [{ file: join(directory, 'configurations/d.raw'), readOnly: true }],
      heartbeat: { intervalMs: 250, watch: false },
    });
  });

  it.each([
    [['--file', 'missing.json'], 3, 'missing.json cannot be read'],
    [['--file', 'broken.json'], 2, 'is no JSON'],
    [['--file', 'list.json'], 2, 'is no JSON object'],
    [['--initrd', 'i'], 2, '--kernel'],
    [['--memory', 'much'], 2, 'whole number'],
    [['--watchdog', 'bark'], 2, 'Allowed choices are reset, pause, none'],
    [['--memmory', '1'], 2, 'did you mean --memory'],
  ])('create %j ends with exit code %i and says why', async (flags, code, why) => {
    await writeFile(join(directory, 'broken.json'), '{');
    await writeFile(join(directory, 'list.json'), '[]');
    const result = await run('vm', 'create', 'x', ...flags);
    expect(result.code).toBe(code);
    expect(result.err.toLowerCase()).toContain(why.toLowerCase());
  });

  it('create of a name that is taken is refused', async () => {
    scripted.addVm('web-1');
    const { code, err } = await run('vm', 'create', 'WEB-1');
    expect([code, err]).toEqual([4, "vmpulse: A machine is named 'WEB-1' already; choose another name."]);
  });

  it('change keeps the parts of an object that are not named', async () => {
    scripted.addVm('web-1', {
      heartbeat: { intervalMs: 1_000, watch: false },
      boot: { kernel: '/k', initrd: '/i' },
      changesPending: true,
    });
    const flags =
      '--interval 500 --cmdline q --name web-2 --notes n --set a/b=7 --set c=true --set d=x=y --unset e';
    const { code, out } = await run('vm', 'change', 'web-1', ...flags.split(' '));
    expect([code, out]).toEqual([0, "changed 'web-2'; it takes effect at its next start"]);
    expect(scripted.bodies.at(-1)).toEqual({
      heartbeat: { intervalMs: 500, watch: false },
      boot: { kernel: '/k', initrd: '/i', cmdline: 'q' },
      name: 'web-2',
      notes: 'n',
      values: { 'a/b': 7, c: true, d: 'x=y', e: null },
    });
    expect(await run('vm', 'change', 'web-2')).toMatchObject({ code: 2 });
    expect(await run('vm', 'change', 'web-2', '--set', 'novalue')).toMatchObject({ code: 2 });
  });

  it('list and show tell of machines, in tables or as JSON', async () => {
    expect((await run('vm', 'list')).out).toContain('vmpulse vm create');
    const vm = scripted.addVm('web-1', {
      memoryMiB: 256,
      values: { 'a/b': true },
      guest: { osName: 'Debian\u001b[2J' },
    });
    expect((await run('vm', 'list')).out.split('\n')).toEqual([
      expect.stringMatching(/^NAME {3}STATE {6}CPUS {3}MEMORY {2}AUTOSTART {2}HYPERVISOR {2}ID$/u),
      `web-1  turnedOff     1  256 MiB  never      qemu        ${vm.id}`,
    ]);
    const shown = (await run('vm', 'show', 'web-1')).out;
    expect(shown).toMatch(/^memory +256 MiB$/mu);
    expect(shown).toMatch(/^a\/b +true$/mu);
    expect(shown).toMatch(/^guest system +Debian\\u\{1b\}\[2J$/mu);
    expect((JSON.parse((await run('vm', 'show', 'web-1', '--json')).out) as VmInfo).id).toBe(vm.id);
    expect(JSON.parse((await run('vm', 'list', '--json')).out)).toHaveLength(1);
  });

  it.each([
    ['startup', 'turnedOff', 'running'],
    ['turn-off', 'running', 'turnedOff'],
    ['reset', 'running', 'running'],
    ['pause', 'running', 'paused'],
    ['resume', 'paused', 'running'],
    ['save', 'running', 'saved'],
    ['discard-saved-state', 'saved', 'turnedOff'],
    ['shutdown', 'running', 'turnedOff'],
    ['inject-nmi', 'running', 'running'],
  ] as const)('%s waits for its end and tells the state', async (verb, from, to) => {
    scripted.addVm('web-1', { state: from });
    expect(await run('vm', verb, 'web-1')).toEqual({ code: 0, out: `'web-1' is ${to}`, err: '' });
    expect(scripted.requests).toContain(`POST /v1/vms/${scripted.find('web-1').id}/${verb}`);
  });

  it('an operation shows progress, and its failure is exit code 1', async () => {
    scripted.slowTasks = true;
    scripted.addVm('web-1');
    const { terminal, code } = begin('vm', 'startup', 'web-1');
    await eventually('the task', () => scripted.tasks.length === 1);
    Object.assign(scripted.tasks[0] ?? {}, { percent: 40 });
    await eventually('progress', () => terminal.progressLines.includes('startup web-1: 40 %'));
    const error = { code: 'E_FAIL', hresult: '0x80004005', detail: 'QEMU ended.' };
    scripted.endTask('t1', { result: 'unexpectedError', error });
    expect(await code).toBe(1);
    expect(terminal.errors).toBe('vmpulse: QEMU ended.');
    expect(terminal.progressLines.at(-1)).toBe('');
  });

  it('an operation is waited for as long as said, or not at all, and Ctrl-C is 130', async () => {
    scripted.slowTasks = true;
    scripted.addVm('web-1');
    expect(await run('vm', 'startup', 'web-1', '--timeout', '0.05')).toMatchObject({ code: 7 });
    const { code, out } = await run('vm', 'startup', 'web-1', '--no-wait', '--json');
    expect([code, (JSON.parse(out) as { isComplete: boolean }).isComplete]).toEqual([0, false]);
    const begun = begin('vm', 'startup', 'web-1');
    await eventually('the third task', () => scripted.tasks.length === 3);
    begun.terminal.interrupt();
    expect(await begun.code).toBe(130);
  });

  it('an operation refused in the present state is exit code 4', async () => {
    scripted.addVm('web-1');
    const { code, err } = await run('vm', 'pause', 'web-1');
    expect([code, err]).toEqual([4, "vmpulse: 'web-1' is turnedOff: pause is not possible."]);
  });

  it('delete tells what stays', async () => {
    scripted.addVm('web-1');
    expect((await run('vm', 'delete', 'web-1')).out).toContain('disk images');
    expect(scripted.vms).toEqual([]);
  });

  it('guesses the machine that was meant', async () => {
    scripted.addVm('web-1');
    scripted.addVm('database');
    expect(await run('vm', 'show', 'web1')).toMatchObject({
      code: 3,
      err: "vmpulse: no machine 'web1'; did you mean 'web-1'?",
    });
    expect((await run('vm', 'startup', 'zebra')).err).toContain('vmpulse vm list');
    const { code, err } = await run('vm', 'show', 'web1', '--json');
    expect([code, JSON.parse(err)]).toEqual([
      3,
      expect.objectContaining({ code: 'VM_E_VM_UNKNOWN', status: 404 }),
    ]);
  });
});

describe('vmpulse task', () => {
  it('lists, shows and cancels', async () => {
    expect((await run('task', 'list')).out).toBe('No tasks.');
    scripted.slowTasks = true;
    scripted.addVm('web-1');
    await run('vm', 'startup', 'web-1', '--no-wait');
    expect((await run('task', 'list')).out).toMatch(/^t1 +web-1 +startup web-1 +0 %/mu);
    expect((await run('task', 'cancel', 't1')).out).toBe('t1  startup web-1  cancelled');
    expect((await run('task', 'show', 't1', '--json')).out).toContain('"result": "cancelled"');
    expect(await run('task', 'cancel', 't1')).toMatchObject({ code: 4 });
    expect(await run('task', 'show', 't9')).toMatchObject({ code: 3 });
  });
});

describe('errors', () => {
  it('nobody answers: exit code 5, and what to do', async () => {
    await scripted.stop();
    const { code, err } = await run('status');
    expect(code).toBe(5);
    expect(err).toBe(
      `vmpulse: No server answers on ${directory}/vmpulse.sock: start one with \`vmpulse serve\`, ` +
        'or name its data directory (--data DIR) or address (--url URL).',
    );
  });

  it('the token is wrong: exit code 6; the token of the data directory is read for this host', async () => {
    const tcp = await ScriptedServer.start();
    tcp.token = 'secret';
    expect(await run('status', '--url', tcp.url)).toMatchObject({ code: 6 });
    expect(await run('status', '--url', tcp.url, '--token', 'wrong')).toMatchObject({ code: 6 });
    expect(await run('status', '--url', tcp.url, '--token', 'secret')).toMatchObject({ code: 0 });
    await writeFile(join(directory, 'token'), 'secret\n');
    expect(await run('status', '--url', tcp.url)).toMatchObject({ code: 0 });
    expect(await run('status', '--url', tcp.url, '--token-file', 'token')).toMatchObject({ code: 0 });
    expect(await run('status', '--url', tcp.url, '--token-file', 'none')).toMatchObject({ code: 3 });
    await tcp.stop();
  });

  it('the token of the data directory goes to no other host', async () => {
    await writeFile(join(directory, 'token'), 'secret\n');
    const authorizations: (string | undefined)[] = [];
    const other = createServer((request, response) => {
      authorizations.push(request.headers.authorization);
      response.writeHead(401).end();
    });
    await new Promise<void>((resolve) => {
      other.listen(0, '127.0.0.2', resolve);
    });
    const url = `http://127.0.0.2:${(other.address() as AddressInfo).port}`;
    expect(await run('status', '--url', url)).toMatchObject({ code: 6 });
    expect(await run('status', '--url', url, '--token-file', 'token')).toMatchObject({ code: 6 });
    expect(authorizations).toEqual([undefined, 'Bearer secret']);
    other.close();
  });

  it('Ctrl-C ends a command whose request hangs: exit code 130', async () => {
    scripted.answerNext(/GET .v1.vms/u, () => undefined);
    const { terminal, code } = begin('vm', 'list');
    await eventually('the request', () => scripted.requests.some((line) => line.endsWith('/v1/vms')));
    terminal.interrupt();
    expect(await code).toBe(130);
  });

  it('what the server sends cannot steer the terminal', async () => {
    scripted.refuseNext(/vms/u, new VmError('E_FAIL', 'bad \u001b[31mred', { field: '/a\u0007' }));
    const { err } = await run('vm', 'list');
    expect(err).toBe('vmpulse: bad \\u{1b}[31mred (/a\\u{7})');
  });

  it('a wrong command line is exit code 2', async () => {
    for (const args of [
      ['vm', 'frobnicate'],
      ['events', '--after', 'x'],
      ['status', '--interval', '0'],
      ['nonsense'],
    ]) {
      expect((await run(...args)).code).toBe(2);
    }
    expect((await run('events', '--type', 'heartbeatStoped')).err).toContain(
      'Did you mean heartbeatStopped?',
    );
  });
});

describe('help', () => {
  const groups = {
    vm:
      'create list show change delete startup turn-off reset pause resume save discard-saved-state ' +
      'shutdown inject-nmi',
    task: 'list show cancel',
  };
  const verbs = [
    ['status'],
    ['events'],
    ['hold'],
    ['holds'],
    ['release'],
    ...Object.entries(groups).flatMap(([group, names]) => names.split(' ').map((name) => [group, name])),
  ];

  it.each(verbs.map((verb) => [verb.join(' '), verb] as const))(
    '%s --help shows an example, --json and how to connect',
    async (_name, verb) => {
      const { code, out } = await run(...verb, '--help');
      expect(code).toBe(0);
      expect(out).toContain(`Example:\n  vmpulse ${verb.join(' ')}`);
      for (const flag of ['--json', '--data', '--url', '--token']) expect(out).toContain(flag);
    },
  );

  it('of the program lists the exit codes; --version tells the version', async () => {
    expect((await run('--help')).out).toContain('130 interrupted');
    expect(await run('--version')).toMatchObject({ code: 0, out: '1.2.3' });
  });

  it('loads the service only for what needs it', () => {
    const light = ['status', 'vm', 'events', 'hold', 'holds', 'release', 'task'];
    expect(light.filter((verb) => needsService([verb, 'x']))).toEqual([]);
    expect([[], ['--help'], ['serve'], ['demo'], ['typo']].map(needsService)).toEqual([
      true,
      true,
      true,
      true,
      true,
    ]);
  });
});
