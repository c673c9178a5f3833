import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { inflateSync } from 'node:zlib';
import { type VirtualMachine, isEvent } from '@vmpulse/client';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { RealService, eventually, patienceMs } from '../support/real-service.ts';

let service: RealService;
beforeAll(async () => {
  service = await RealService.start();
});
afterEach(() => service.clear());
afterAll(() => service.dispose());

const bounds = { minRunningMs: 0, memoryDumpMiB: 1_024 } as const;
const policies = {
  panic: { ...bounds, action: 'reset', settleMs: patienceMs },
  // An NMI makes it panic, for a dump of its own; this one writes none, and is reset once it had the time.
  hang: { ...bounds, action: 'staged', nmi: true, settleMs: 10_000 },
} as const;
const stages = { panic: ['evidence', 'reset'], hang: ['evidence', 'injectNmi', 'reset'] } as const;

/** What QEMU says its guest does, on the monitor that is the operator's. */
function askStatus(directory: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(join(directory, 'operator.sock'));
    let text = '';
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      text += chunk.toString();
      const status = /"status": "([\w-]+)"/u.exec(text)?.[1];
      if (status === undefined) return;
      socket.destroy();
      resolve(status);
    });
    socket.write('{"execute":"qmp_capabilities"}{"execute":"query-status"}\n');
  });
}

/** Size and colours of a PNG of 8 bits a channel. */
function lookAt(png: Buffer): { width: number; height: number; colours: number } {
  expect(png.subarray(0, 8)).toEqual(Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]));
  const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
  const data: Buffer[] = [];
  for (let at = 8; at < png.length; at += png.readUInt32BE(at) + 12) {
    const isData = png.toString('latin1', at + 4, at + 8) === 'IDAT';
    if (isData) data.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)));
  }
  return { width, height, colours: new Set(inflateSync(Buffer.concat(data))).size };
}

async function story(seq: number): Promise<string> {
  const cli = join(import.meta.dirname, '../../packages/server/dist/cli/main.js');
  const args = [cli, 'incident', 'show', String(seq), '--data', service.directory];
  return (await promisify(execFile)(process.execPath, args)).stdout;
}

/** Steps of its recovery that were carried out. */
function stepsDone(vm: VirtualMachine): string[] {
  return service.heard
    .of(vm.name)
    .flatMap((event) =>
      isEvent(event, 'recoveryStep') && event.data.phase === 'done' ? [event.data.step] : [],
    );
}

describe('a guest that is to be recovered', () => {
  test.each(['panic', 'hang'] as const)('comes back by itself after a %s, by stages', async (fault) => {
    // One display is enough.
    const hasScreen = fault === 'panic';
    const vm = await service.live(`back-${fault}`, { recovery: policies[fault], vnc: hasScreen });
    await service.tell(vm, fault);
    const stopped = await service.heard.wait(vm.name, 'heartbeatStopped');
    if (fault === 'hang') {
      await killDuringDump(vm);
      await eventually(
        () => stepsDone(vm).includes('reset'),
        () => `its reset; done: ${stepsDone(vm).join(', ')}`,
      );
      // A boot takes longer than its panic.
      await vm.change({ recovery: { ...policies.hang, settleMs: patienceMs } });
    }
    const succeeded = await service.heard.wait(vm.name, 'recoverySucceeded');
    expect(succeeded.data).toMatchObject({ stoppedSeq: stopped.seq, step: 'reset' });
    expect(stepsDone(vm)).toEqual(stages[fault]);
    expect(service.heard.types(vm.name)).toContain('heartbeatResumed');
    const { files, missing } = await service.server.incidents.get(stopped.seq);
    expect(missing.map(({ name }) => name)).toEqual(hasScreen ? [] : ['screen.png']);
    expect(files.map(({ name }) => name)).toEqual([
      'memory.kdump',
      'registers.txt',
      ...(hasScreen ? ['screen.png'] : []),
      'serial.log',
      'state.json',
    ]);
    const file = async (name: string): Promise<Buffer> =>
      Buffer.from(await service.server.incidents.file(stopped.seq, name));
    expect((await file('registers.txt')).toString()).toContain('RIP');
    if (hasScreen) {
      const screen = lookAt(await file('screen.png'));
      expect(screen.width * screen.height).toBeGreaterThanOrEqual(640 * 400);
      expect(screen.colours).toBeGreaterThan(1);
    }
    const head = await service.server.incidents.pieces(stopped.seq, 'memory.kdump').next();
    expect(Buffer.from(head.value ?? []).toString('latin1', 0, 12)).toBe('makedumpfile');
    expect(files[0]?.bytes).toBeGreaterThan(512 * 1024);
    const info = await vm.recovery.info();
    expect(info.state).toBe('idle');
    expect(info.history.at(-1)).toMatchObject({ step: 'reset', outcome: 'succeeded' });
    const told = await story(stopped.seq);
    for (const label of ['last tick', 'verdict', 'why', 'tried     reset done in', 'came back']) {
      expect(told).toContain(`  ${label} `);
    }
  });
});

/** The service is killed while QEMU holds the guest for a dump: the guest is let go at once, and dumped anew later. */
async function killDuringDump(vm: VirtualMachine): Promise<void> {
  const { directory } = (await vm.refresh()).files;
  await eventually(
    async () => {
      if (!existsSync(join(directory, 'memory-dump.fifo'))) return false;
      service.signal('SIGSTOP');
      if ((await askStatus(directory)) === 'save-vm') return true;
      service.signal('SIGCONT');
      return false;
    },
    () => 'a dump to be under way',
  );
  await service.end('SIGKILL');
  const goesOn = async (): Promise<boolean> => (await askStatus(directory)) === 'running';
  await eventually(goesOn, () => 'the guest to run');
  await service.run();
}
