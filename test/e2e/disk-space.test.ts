import { execFileSync } from 'node:child_process';
import { mkdtemp, open, rm, truncate, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isEvent } from '@vmpulse/client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { eventually, RealService } from '../support/real-service.ts';

const mb = 1024 ** 2;

/** Why a file system of its own cannot be mounted; null where it can. */
function mountTrouble(): string | null {
  if (process.getuid?.() !== 0) return 'mounting needs root';
  try {
    execFileSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], { stdio: 'pipe' });
    return null;
  } catch (error) {
    return `mounting is not permitted: ${(error as Error).message.split('\n')[0]}`;
  }
}

const trouble = mountTrouble();

describe.skipIf(trouble !== null)(`disk space (${trouble ?? 'on a file system of 64 MB'})`, () => {
  let images: string;
  let service: RealService;

  beforeEach(async () => {
    images = await mkdtemp(join(tmpdir(), 'vmp-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', images]);
    service = await RealService.start();
  });

  afterEach(async () => {
    await service.dispose();
    execFileSync('umount', ['-l', images]);
    await rm(images, { recursive: true });
  });

  test('that runs out pauses a real guest, which goes on when there is room, over a kill -9', async () => {
    const file = join(images, 'disk.img');
    await writeFile(file, '');
    await truncate(file, 256 * mb);
    const vm = await service.live('web-1', { disks: [{ file }] });
    const { heard } = service;
    const warned = await heard.wait(undefined, 'diskSpaceLow');
    expect(warned.data).toMatchObject({ level: 'warning', path: images, machines: [{ name: 'web-1' }] });
    expect(await metric(service, images)).toBeGreaterThan(50 * mb);

    const filler = join(images, 'filler');
    await fill(filler, 50 * mb);
    const low = await heard.wait(undefined, 'diskSpaceLow', 2);
    expect(low.data).toMatchObject({ messageId: 107, level: 'error', eventType: 11, path: images });
    const paused = await eventually(
      () =>
        heard.of('web-1').find((event) => isEvent(event, 'stateChanged') && event.data.state === 'paused'),
      () => `the pause; heard ${JSON.stringify(heard.types())}`,
    );
    expect(paused.data).toMatchObject({ cause: 'diskSpace' });
    expect(paused.seq).toBeGreaterThan(low.seq);

    await service.end('SIGKILL');
    await service.run();
    expect((await vm.refresh()).state).toBe('paused');
    await rm(filler);
    const regained = await heard.wait(undefined, 'diskSpaceRegained');
    expect(regained.data).toMatchObject({ messageId: 108, from: 'error', to: 'warning', path: images });
    await eventually(
      async () => (await vm.refresh()).state === 'running' && (await vm.refresh()).guest.isHeartbeating,
      () => `the guest to go on; heard ${JSON.stringify(heard.types())}`,
    );
    expect(heard.types()).not.toContain('heartbeatStopped');
    expect(heard.types().filter((type) => type.startsWith('diskSpace'))).toHaveLength(3);
    expect(heard.isGapless()).toBe(true);
  });
});

async function fill(path: string, bytes: number): Promise<void> {
  const file = await open(path, 'w');
  const chunk = Buffer.alloc(mb);
  for (let written = 0; written < bytes; written += chunk.length) await file.write(chunk);
  await file.close();
}

/** vmpulse_disk_free_bytes of a file system. */
async function metric(service: RealService, path: string): Promise<number> {
  const text = await new Promise<string>((resolve, reject) => {
    const socketPath = join(service.directory, 'vmpulse.sock');
    const asked = request({ socketPath, path: '/metrics' }, (answer) => {
      let body = '';
      answer.on('data', (part: Buffer) => {
        body += part.toString();
      });
      answer.on('end', () => resolve(body));
    });
    asked.on('error', reject);
    asked.end();
  });
  const line = text.split('\n').find((each) => each.startsWith(`vmpulse_disk_free_bytes{path="${path}"}`));
  return Number(line?.split(' ')[1]);
}
