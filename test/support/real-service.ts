/** The real service as a process of its own, real QEMU guests in it, and a client that listens: what e2e stands on. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { eventTypeOf, type VirtualMachine, type VirtualServer, type VmEvent } from '@vmpulse/client';
import { connectToDataDirectory } from '@vmpulse/client/node';
import type { VmConfiguration } from '@vmpulse/wire';

const cli = fileURLToPath(new URL('../../packages/server/dist/cli/main.js', import.meta.url));

/** Where the guest image lies, and how it wants to be booted. `npm test` builds it and says where. */
function guestImage(): { kernel: string; initrd: string; cmdline: string; memoryMiB: number } {
  const directory = process.env['VMPULSE_GUEST_IMAGE'];
  if (directory === undefined) {
    throw new Error(
      'VMPULSE_GUEST_IMAGE is not set; run `npm test`, or set it to what `sh images/build.sh` prints.',
    );
  }
  const description = JSON.parse(readFileSync(join(directory, 'image.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  return {
    kernel: join(directory, 'vmlinuz'),
    initrd: join(directory, 'initrd.img'),
    cmdline: String(description['cmdline']),
    memoryMiB: Number(description['minMemoryMiB'] ?? 128),
  };
}

/** What takes longer has failed. On half a processor that others use, too, a guest boots in some two minutes. */
export const patienceMs = 400_000;

/** Waits until `condition` gives something; fails with what `describe` says. */
export async function eventually<T>(
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  describe: () => string,
  timeoutMs: number = patienceMs,
): Promise<T> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const result = await condition();
    if (result !== undefined && result !== false) return result;
    if (performance.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${describe()}`);
    await delay(10);
  }
}

/** Every event a service told since it was first connected to, over its restarts. */
export class Heard {
  readonly events: VmEvent[] = [];
  readonly errors: string[] = [];

  /** `heartbeatStopped` and so on, of one machine where a name is given. */
  types(vm?: string): string[] {
    return this.of(vm).map(eventTypeOf);
  }

  of(vm?: string): VmEvent[] {
    return vm === undefined ? this.events : this.events.filter((event) => event.subject === vm);
  }

  /** The first event that matches, of those heard or still to come. */
  wait(vm: string | undefined, type: string, nth = 1, timeoutMs: number = patienceMs): Promise<VmEvent> {
    return eventually(
      () => this.of(vm).filter((event) => eventTypeOf(event) === type)[nth - 1],
      () => `${type} number ${nth} of ${vm ?? 'the server'}; heard ${JSON.stringify(this.types(vm))}`,
      timeoutMs,
    );
  }

  /** seq has neither gap nor double. */
  isGapless(): boolean {
    return this.events.every((event, index) => event.seq === (this.events[0]?.seq ?? 1) + index);
  }
}

/** A service with its data directory. */
export class RealService {
  readonly directory: string;
  readonly heard: Heard = new Heard();
  server!: VirtualServer;
  output = '';
  private child: ChildProcess | undefined;
  private readonly environment: Record<string, string>;

  private constructor(directory: string, environment: Record<string, string>) {
    this.directory = directory;
    this.environment = environment;
  }

  /** Starts a service on a directory of its own and listens from its first event on. */
  static async start(
    options: { directory?: string; environment?: Record<string, string> } = {},
  ): Promise<RealService> {
    const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'vmp-')));
    const service = new RealService(directory, options.environment ?? {});
    await service.run();
    service.server = await connectToDataDirectory(directory);
    const connection = service.server.advise(
      { onEvent: (event) => void service.heard.events.push(event) },
      { after: 0, onError: (error) => service.heard.errors.push(error.message) },
    );
    await connection.ready;
    return service;
  }

  get pid(): number {
    const pid = this.child?.pid;
    if (pid === undefined) throw new Error('the service does not run');
    return pid;
  }

  /** Starts the process and waits until it is ready. */
  async run(): Promise<void> {
    const child = spawn(
      process.execPath,
      [cli, 'serve', '--data', this.directory, '--listen', '127.0.0.1:0'],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, ...this.environment },
      },
    );
    this.child = child;
    const keep = (chunk: Buffer): void => {
      this.output = (this.output + chunk.toString()).slice(-65_536);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    await eventually(
      () => this.isReady(child),
      () => `the service to be ready:\n${this.output}`,
    );
  }

  private async isReady(child: ChildProcess): Promise<boolean> {
    if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}:\n${this.output}`);
    if (!existsSync(join(this.directory, 'vmpulse.sock'))) return false;
    return new Promise((resolve) => {
      const asked = request(
        { socketPath: join(this.directory, 'vmpulse.sock'), path: '/readyz' },
        (answer) => {
          answer.resume();
          resolve(answer.statusCode === 200);
        },
      );
      asked.on('error', () => resolve(false));
      asked.end();
    });
  }

  /** Ends the process with a signal and waits for its end. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null)
      return child?.exitCode ?? null;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
    return child.exitCode;
  }

  signal(signal: NodeJS.Signals): void {
    this.child?.kill(signal);
  }

  /** A machine of the guest image, not started. */
  async create(
    name: string,
    change: Partial<VmConfiguration> = {},
    parameters = '',
  ): Promise<VirtualMachine> {
    const { kernel, initrd, cmdline, memoryMiB } = guestImage();
    return this.server.createVirtualMachine({
      name,
      memoryMiB,
      boot: { kernel, initrd, cmdline: `${cmdline} vmpulse.host=${name} ${parameters}`.trim() },
      ...change,
    });
  }

  /** A machine that runs and ticks. */
  async live(name: string, change: Partial<VmConfiguration> = {}, parameters = ''): Promise<VirtualMachine> {
    const vm = await this.create(name, change, parameters);
    await (await vm.startup()).waitForCompletion(patienceMs);
    await this.heard.wait(name, 'heartbeatStarted');
    return vm;
  }

  /** Tells the guest to do something, on its serial console; resolves when it answered that it will. */
  async tell(vm: VirtualMachine, command: string): Promise<void> {
    const { files } = await vm.refresh();
    const socket = connectSocket(files.serialSocket);
    socket.on('error', () => undefined);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString();
    });
    await once(socket, 'connect');
    socket.write(`\n${command}\n`);
    await eventually(
      () => text.includes(`ok ${command.split(' ', 1)[0]}`),
      () => `the guest to answer ${command}: ${text}`,
    );
    socket.destroy();
  }

  async pidOf(vm: VirtualMachine): Promise<number> {
    const { pid } = await vm.refresh();
    if (pid === null) throw new Error(`${vm.name} has no process`);
    return pid;
  }

  /** Waits until all told so far is heard: an answer may overtake the events of what it says. Its last seq. */
  async caughtUp(): Promise<number> {
    const { seq } = await this.server.info();
    await eventually(
      () => (this.heard.events.at(-1)?.seq ?? 0) >= seq,
      () => `event ${seq} to be heard; heard ${JSON.stringify(this.heard.types())}`,
    );
    return seq;
  }

  /** Turns off and deletes every machine, so that the next test finds none. */
  async clear(): Promise<void> {
    for (const vm of await this.server.virtualMachines()) {
      const info = await vm.refresh();
      if (info.operations.includes('turnOff')) await (await vm.turnOff()).waitForCompletion(patienceMs);
      if (info.state === 'saved') await (await vm.discardSavedState()).waitForCompletion(patienceMs);
      await vm.delete();
    }
  }

  /** Ends the service and every QEMU of its directory, and removes the directory. */
  async dispose(): Promise<void> {
    await this.server?.close().catch(() => undefined);
    this.signal('SIGCONT');
    await this.end('SIGKILL');
    const machines = join(this.directory, 'vms');
    for (const id of existsSync(machines) ? readdirSync(machines) : []) {
      const pid = Number(await readFile(join(machines, id, 'qemu.pid'), 'utf8').catch(() => ''));
      if (pid > 0 && readFileSyncOr(`/proc/${pid}/cmdline`).includes(id)) process.kill(pid, 'SIGKILL');
    }
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

function readFileSyncOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
