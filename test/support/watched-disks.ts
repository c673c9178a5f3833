/** Machines on scripted file systems, and the watch over their space: a fixture of tests. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type VmEvent, eventTypeOf } from '@vmpulse/wire';
import { DiskLooks } from '../../packages/server/src/hypervisor/disk-looks.ts';
import { maxDiskLookMs } from '../../packages/server/src/limits.ts';
import { DiskSpace } from '../../packages/server/src/vm/disk-space.ts';
import { ScriptedDisks } from './scripted-disks.ts';
import { ServedMachines } from './served-machines.ts';

/** Bytes of a megabyte. */
export const mb: number = 1024 ** 2;
const bounds = { warningBytes: 100 * mb, errorBytes: 20 * mb };

/** A server, two file systems with plenty of space, and a folder for images on one of them. */
export class WatchedDisks {
  readonly root: string;
  readonly images: string;
  readonly served: ServedMachines = new ServedMachines();
  readonly disks: ScriptedDisks = new ScriptedDisks();
  /** What was logged as an error. */
  readonly errors: string[] = [];
  space!: DiskSpace;

  private constructor(root: string) {
    this.root = root;
    this.images = join(root, 'images');
    this.disks.mount('/', 9_000 * mb);
    this.disks.mount(this.images, 9_000 * mb);
  }

  /** The watch is not begun yet. */
  static async open(): Promise<WatchedDisks> {
    const world = new WatchedDisks(await mkdtemp(join(tmpdir(), 'vmp-')));
    await world.served.server.start();
    return world;
  }

  async close(): Promise<void> {
    this.space.close();
    await rm(this.root, { recursive: true });
  }

  /** Begins the watch of the present service, which looks at once. */
  async watch(): Promise<void> {
    const { clock, log, documents: store, server } = this.served;
    const logger = {
      info: () => undefined,
      warn: () => undefined,
      error: (_details: object, text: string) => void this.errors.push(text),
    };
    const looks = new DiskLooks(clock, this.disks);
    const directory = join(this.root, 'data');
    const { machines } = server;
    this.space = new DiskSpace({ clock, log, store, machines, looks, logger, directory, bounds });
    await this.space.load();
    this.space.start();
    await this.pass(1);
  }

  /** By default so much that every file system was looked at again. */
  async pass(ms: number = maxDiskLookMs): Promise<void> {
    await this.served.clock.advanceAsync(ms);
    await this.served.settle();
  }

  async freeMb(megabytes: number, path: string = this.images): Promise<void> {
    this.disks.free(path, megabytes * mb);
    await this.pass();
  }

  async killAndRestart(): Promise<void> {
    this.space.close();
    this.served.kill();
    await this.served.server.start();
    await this.served.settle();
    await this.watch();
  }

  /** Events of disk space. */
  async told(after = 0): Promise<VmEvent[]> {
    return (await this.served.events(after)).filter((event) => eventTypeOf(event).startsWith('diskSpace'));
  }

  async datas(after = 0): Promise<unknown[]> {
    return (await this.told(after)).map(({ data }) => data);
  }

  /** A machine with a disk that is there. */
  async create(name: string, file: string = join(this.images, name), readOnly = false): Promise<string> {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, '');
    return this.served.create({ name, disks: [{ file, readOnly }] });
  }

  async runs(name: string, file?: string, readOnly?: boolean): Promise<string> {
    const vm = await this.create(name, file, readOnly);
    await this.served.bring(vm, 'running');
    if (this.served.state(vm) !== 'running') throw new Error(`${name} does not run`);
    return vm;
  }

  /** What is stored of a machine. */
  async mark(vm: string): Promise<unknown> {
    return (await this.served.record(vm)).diskSpace ?? null;
  }
}
