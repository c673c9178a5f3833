import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { eventually, RealService, patienceMs } from '../support/real-service.ts';

const cli = fileURLToPath(new URL('../../packages/server/dist/cli/main.js', import.meta.url));

/** Runs the command line to its end. */
async function run(args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [cli, ...args], { timeout: 240_000 }, (error, out, err) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
      resolve({ code, out, err });
    });
  });
}

const folders: string[] = [];
async function folder(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'vmp-'));
  folders.push(made);
  return made;
}
afterEach(async () => {
  for (const each of folders.splice(0)) await rm(each, { recursive: true, force: true });
});

/** What came of the start of a machine whose QEMU never answers, and the process that is left. */
async function startsInVain(): Promise<{ readonly thrown: unknown; readonly pid: number | null }> {
  const bin = await mkdtemp(join(tmpdir(), 'vmp-'));
  writeFileSync(join(bin, 'qemu-system-x86_64'), '#!/bin/sh\nexec sleep 600\n', { mode: 0o755 });
  const other = await RealService.start({ environment: { PATH: `${bin}:${process.env['PATH'] ?? ''}` } });
  try {
    const vm = await other.create('hangs');
    const task = await vm.startup();
    const thrown = await task.waitForCompletion(patienceMs).catch((error: unknown) => error);
    return { thrown, pid: (await vm.refresh()).pid };
  } finally {
    await other.dispose();
    await rm(bin, { recursive: true, force: true });
  }
}

// It takes 40 s of waiting: it is begun first, and looked at last.
let inVain: ReturnType<typeof startsInVain> | undefined;
beforeAll(() => {
  inVain = startsInVain();
  inVain.catch(() => undefined);
});

describe('a service that cannot start says why and what to do, and ends with 1 or more', () => {
  test('when its port is taken', async () => {
    const holder = createServer();
    holder.listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const address = holder.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const { code, err } = await run(['serve', '--data', await folder(), '--listen', `127.0.0.1:${port}`]);
    holder.close();
    expect(code).toBeGreaterThan(0);
    expect(err).toContain(`Port ${port} on 127.0.0.1 is taken`);
  });

  test('when it is to listen beyond loopback without a certificate', async () => {
    const { code, err } = await run(['serve', '--data', await folder(), '--listen', '0.0.0.0:0']);
    expect(code).toBeGreaterThan(0);
    expect(err).toMatch(/certificate|TLS/u);
  });

  test('when its data directory is a file', async () => {
    const file = join(await folder(), 'file');
    await writeFile(file, '');
    const { code, err } = await run(['serve', '--data', file, '--listen', '127.0.0.1:0']);
    expect(code).toBeGreaterThan(0);
    expect(err).toContain(file);
  });

  test('when its data directory cannot be written', async () => {
    const directory = await folder();
    // Root may write anywhere but where nobody may: on a read-only file system.
    const isRoot = process.getuid?.() === 0;
    if (isRoot) execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro', 'tmpfs', directory]);
    else chmodSync(directory, 0o500);
    try {
      const { code, err } = await run(['serve', '--data', directory, '--listen', '127.0.0.1:0']);
      expect(code).toBeGreaterThan(0);
      expect(err).toContain(directory);
    } finally {
      if (isRoot) execFileSync('umount', ['-l', directory]);
    }
  });

  test('when its data directory is held by another instance', async () => {
    const service = await RealService.start();
    try {
      const { code, err } = await run(['serve', '--data', service.directory, '--listen', '127.0.0.1:0']);
      expect(code).toBeGreaterThan(0);
      expect(err).toContain(String(service.pid));
      expect((await service.server.info()).seq).toBeGreaterThan(0);
    } finally {
      await service.dispose();
    }
  });

  test('when its database is of a newer version', async () => {
    const service = await RealService.start({ directory: await folder() });
    const { directory } = service;
    await service.server.close();
    await service.end('SIGTERM');
    const database = new DatabaseSync(join(directory, 'vmpulse.db'));
    database.exec('PRAGMA user_version = 9999');
    database.close();
    const { code, err } = await run(['serve', '--data', directory, '--listen', '127.0.0.1:0']);
    expect(code).toBeGreaterThan(0);
    expect(err).toMatch(/newer/u);
  });

  test('when its database is no database', async () => {
    const directory = await folder();
    await writeFile(join(directory, 'vmpulse.db'), 'x'.repeat(8192));
    const { code, err } = await run(['serve', '--data', directory, '--listen', '127.0.0.1:0']);
    expect(code).toBeGreaterThan(0);
    expect(err).toContain('vmpulse.db');
  });
});

describe('a machine that cannot start', () => {
  let service: RealService;
  beforeAll(async () => {
    service = await RealService.start();
  });
  afterEach(() => service.clear());
  afterAll(() => service.dispose());

  test('because its kernel is not there is told with the path, and rests turned off', async () => {
    const vm = await service.create('no-kernel', { boot: { kernel: '/nowhere/vmlinuz' } });
    await expect((await vm.startup()).waitForCompletion(patienceMs)).rejects.toMatchObject({
      code: 'E_FILE_NOT_FOUND',
      message: expect.stringContaining('/nowhere/vmlinuz') as string,
    });
    expect((await vm.refresh()).state).toBe('turnedOff');
    await service.heard.wait('no-kernel', 'taskFailed');
  });

  test('because QEMU refuses its arguments is told in QEMU’s words', async () => {
    const file = join(await folder(), 'broken.qcow2');
    await writeFile(file, 'this is no qcow2 image');
    const vm = await service.create('bad-disk', { disks: [{ file }] });
    await expect((await vm.startup()).waitForCompletion(patienceMs)).rejects.toMatchObject({
      message: expect.stringMatching(/qcow2/u) as string,
    });
    expect((await vm.refresh()).state).toBe('turnedOff');
  });
});

// A file system of its own needs root; CI has it.
describe.skipIf(process.getuid?.() !== 0)('a full disk', () => {
  test('stops no detection and harms no log: the stop is told when there is room again', async () => {
    const directory = await folder();
    mkdirSync(join(directory, 'data'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', join(directory, 'data')]);
    const filler = join(directory, 'data', 'filler');
    let service: RealService | undefined;
    try {
      service = await RealService.start({ directory: join(directory, 'data') });
      const vm = await service.live('full');
      const pid = await service.pidOf(vm);
      fill(filler);
      // The write-ahead log has room of its own; only what makes it grow finds the disk full.
      await eventually(
        async () => {
          vm.change({ notes: `${Math.random()} `.repeat(200) }).catch(() => undefined);
          return (await readiness(directory)) === 503;
        },
        () => '/readyz to say that the disk is full',
      );
      process.kill(pid, 'SIGKILL');
      const { server } = service;
      await eventually(
        async () => (await server.virtualMachines()).every((each) => each.info.guest.verdict === 'exited'),
        () => 'the stop to be seen although it cannot be written',
      );
      expect(service.heard.types('full')).not.toContain('heartbeatStopped');
      await rm(filler);
      await service.heard.wait('full', 'heartbeatStopped');
      await eventually(
        async () => (await readiness(directory)) === 200,
        () => '/readyz to be well again',
      );
      expect(service.heard.isGapless()).toBe(true);
    } finally {
      await service?.server.close();
      await service?.end('SIGKILL');
      execFileSync('umount', ['-l', join(directory, 'data')]);
    }
  });
});

/** Writes until the file system is full. */
function fill(file: string): void {
  try {
    execFileSync('dd', ['if=/dev/zero', `of=${file}`, 'bs=4k'], { stdio: 'ignore' });
  } catch {
    // dd fails when there is no room left: that is what it is for.
  }
}

async function readiness(directory: string): Promise<number> {
  const { request } = await import('node:http');
  return new Promise((resolve, reject) => {
    const socketPath = join(directory, 'data', 'vmpulse.sock');
    const asked = request({ socketPath, path: '/readyz' }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    asked.on('error', reject);
    asked.end();
  });
}

describe('the command line of a real service', () => {
  let service: RealService;
  let follower: ChildProcess | undefined;
  beforeAll(async () => {
    service = await RealService.start();
  });
  afterAll(async () => {
    follower?.kill();
    await service.dispose();
  });

  test('starts a machine, follows its events, and says that it has stopped', async () => {
    const data = ['--data', service.directory];
    await service.create('typed');
    follower = spawn(process.execPath, [cli, 'events', '--follow', '--after', '0', ...data]);
    let followed = '';
    follower.stdout?.on('data', (chunk: Buffer) => {
      followed += chunk.toString();
    });
    expect((await run(['vm', 'startup', 'typed', ...data])).code).toBe(0);
    const shown = JSON.parse((await run(['vm', 'show', 'TYPED', '--json', ...data])).out) as { pid: number };
    process.kill(shown.pid, 'SIGKILL');
    await eventually(
      () => followed.includes('HAS STOPPED (exited)'),
      () => followed,
    );
    const misnamed = await run(['vm', 'show', 'typd', ...data]);
    expect(misnamed.code).toBe(3);
    expect(misnamed.err).toContain("did you mean 'typed'");
    const status = await run(['status', ...data]);
    expect(status.out).toContain('exited');
    expect((await run(['vm', 'turn-off', 'typed', ...data])).code).toBe(4);
  });
});

describe('a QEMU that hangs before it answers', () => {
  test('is given up, and nothing is left of it', async () => {
    expect(await inVain).toMatchObject({ thrown: { code: 'VM_E_TIMED_OUT' }, pid: null });
  });
});
