/**
 * A vmpulse server for tests of its clients: the HTTP contract over machines, tasks and events kept in memory, on a
 * real socket. It is authoritative: what fails is in its script (`answerNext`, `dropStreams`, `stop`, ...).
 */
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type EventDraft,
  type EventType,
  type ServerInfo,
  type TaskInfo,
  type VmEvent,
  type VmInfo,
  type VmOperation,
  type VmState,
  VmError,
  eventTypeOf,
  nameKey,
  refusal,
  stateCodes,
  toCloudEvent,
} from '@vmpulse/wire';
import { eventually } from './eventually.ts';
import { ScriptedHolds } from './scripted-holds.ts';
import { type MachineChanges, scriptedMachine } from './scripted-machine.ts';

/** A draft without what the server fills in. */
export type DraftOf<T extends EventType> = Extract<EventDraft, { type: T }>['data'];

type Handler = (request: IncomingMessage, response: ServerResponse, body: unknown) => void | Promise<void>;

const operations: Readonly<Record<string, VmOperation>> = {
  startup: 'startup',
  'turn-off': 'turnOff',
  reset: 'reset',
  pause: 'pause',
  resume: 'resume',
  save: 'save',
  'discard-saved-state': 'discardSavedState',
  shutdown: 'shutdown',
  'inject-nmi': 'injectNmi',
};

const endStates: Partial<Record<VmOperation, VmState>> = {
  startup: 'running',
  turnOff: 'turnedOff',
  pause: 'paused',
  resume: 'running',
  save: 'saved',
  discardSavedState: 'turnedOff',
  shutdown: 'turnedOff',
};

export class ScriptedServer {
  id = '5c0f7f0e-0000-4000-8000-000000000001';
  token: string | undefined;
  oldestSeq = 1;
  log: VmEvent[] = [];
  vms: VmInfo[] = [];
  tasks: TaskInfo[] = [];
  readonly holds: ScriptedHolds = new ScriptedHolds();
  /** Tasks stay under way until `endTask`, when true. */
  slowTasks = false;
  /** `METHOD path` of each request, in the order they came. */
  readonly requests: string[] = [];
  readonly bodies: unknown[] = [];
  readonly streams = new Set<ServerResponse>();
  #handlers: { pattern: RegExp; handler: Handler; times: number }[] = [];
  #server: Server | undefined;
  #where: { port: number } | { path: string } = { port: 0 };

  static async start(where: { port: number } | { path: string } = { port: 0 }): Promise<ScriptedServer> {
    const server = new ScriptedServer();
    server.#where = where;
    await server.listen();
    return server;
  }

  get url(): string {
    return 'port' in this.#where ? `http://127.0.0.1:${this.#where.port}` : `unix:${this.#where.path}`;
  }

  get seq(): number {
    return this.log.at(-1)?.seq ?? this.oldestSeq - 1;
  }

  async listen(): Promise<void> {
    const server = createServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => {
        response.destroy(error as Error);
      });
    });
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      if ('port' in this.#where) server.listen(this.#where.port, '127.0.0.1', resolve);
      else server.listen(this.#where.path, resolve);
    });
    if ('port' in this.#where) this.#where = { port: (server.address() as AddressInfo).port };
  }

  /** As a killed process: every connection breaks, nobody listens. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  }

  dropStreams(): void {
    for (const stream of this.streams) stream.destroy();
  }

  /** The next `times` requests whose `METHOD path` fits are answered by `handler`. */
  answerNext(pattern: RegExp, handler: Handler, times = 1): void {
    this.#handlers.push({ pattern, handler, times });
  }

  refuseNext(pattern: RegExp, error: VmError, times = 1): void {
    this.answerNext(pattern, (_request, response) => problem(response, error), times);
  }

  addVm(name: string, change: MachineChanges = {}): VmInfo {
    const vm = scriptedMachine(name, this.vms.length + 1, change);
    this.vms.push(vm);
    return vm;
  }

  emit<T extends EventType>(type: T, data: DraftOf<T>, vm?: VmInfo): VmEvent {
    const draft = { type, timeMs: 1_700_000_000_000 + this.seq * 1000, data, ...vmOf(vm) } as EventDraft;
    const event = toCloudEvent(draft, this.seq + 1, this.id);
    this.log.push(event);
    for (const stream of this.streams) stream.write(frame(event));
    return event;
  }

  /** A guest hangs. */
  stopGuest(name = 'web-1'): VmEvent {
    const evidence = {
      lastTickAt: null,
      sinceLastTickMs: null,
      silenceMs: null,
      subtracted: { suspendedMs: 0, runDelayMs: 0 },
      intervalMs: 1000,
      marginMs: null,
      witnesses: [],
    };
    const vm = this.vms.find((candidate) => candidate.name === name);
    return this.emit('heartbeatStopped', { verdict: 'hung', cause: 'silence', evidence }, vm);
  }

  /** Resolves once a stream is open. */
  streaming(): Promise<void> {
    return eventually('an open stream', () => this.streams.size > 0);
  }

  endTask(id: string, result: Partial<TaskInfo> = {}): void {
    const task = this.tasks.find((candidate) => candidate.id === id);
    if (task === undefined) throw new Error(`no task ${id}`);
    const success = { isComplete: true, isCancelable: false, percent: 100, result: 'success', resultCode: 0 };
    Object.assign(task, success, result);
  }

  info(): ServerInfo {
    const counts = Object.fromEntries(Object.keys(stateCodes).map((state) => [state, 0])) as Record<
      VmState,
      number
    >;
    for (const vm of this.vms) counts[vm.state] += 1;
    return {
      id: this.id,
      name: 'host-1',
      version: '0.1.0',
      uptimeMs: 93_784_000,
      seq: this.seq,
      oldestSeq: this.oldestSeq,
      host: {
        hostname: 'host-1',
        kernel: '6.1.0',
        cpus: 2,
        memoryMiB: 4096,
        accelerator: 'tcg',
        acceleratorReason: '/dev/kvm cannot run a guest here',
        qemuVersion: '7.2.0',
      },
      limits: {},
      vms: counts,
    };
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const line = `${request.method} ${request.url}`;
    this.requests.push(line);
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const body: unknown = text === '' ? undefined : JSON.parse(text);
    this.bodies.push(body);
    const scripted = this.#handlers.find((candidate) => candidate.times > 0 && candidate.pattern.test(line));
    if (scripted !== undefined) {
      scripted.times -= 1;
      await scripted.handler(request, response, body);
      return;
    }
    try {
      if (this.token !== undefined && request.headers.authorization !== `Bearer ${this.token}`) {
        throw new VmError(
          'VMPULSE_E_UNAUTHENTICATED',
          'The token is wrong or missing; take it from DIR/token.',
        );
      }
      this.#route(request, response, body);
    } catch (error) {
      problem(response, VmError.from(error));
    }
  }

  #route(request: IncomingMessage, response: ServerResponse, body: unknown): void {
    const url = new URL(request.url ?? '/', 'http://x');
    const parts = url.pathname.split('/').slice(2).map(decodeURIComponent);
    if (parts[0] === 'server') json(response, 200, this.info());
    else if (parts[0] === 'events') this.#events(request, response, url.searchParams);
    else if (parts[0] === 'holds') this.#hold(request.method, response, undefined, body);
    else if (parts[0] === 'tasks') this.#tasks(response, parts.slice(1));
    else if (parts[0] === 'vms') this.#vms(request.method ?? 'GET', response, parts.slice(1), body);
    else throw new VmError('VMPULSE_E_NOT_FOUND', 'No such route.');
  }

  #tasks(response: ServerResponse, [id, action]: string[]): void {
    if (id === undefined) {
      json(response, 200, { tasks: this.tasks });
      return;
    }
    const task = this.tasks.find((candidate) => candidate.id === id);
    if (task === undefined) throw new VmError('VMPULSE_E_NOT_FOUND', `No task ${id}.`);
    if (action === 'cancel') {
      if (!task.isCancelable) throw new VmError('E_FAIL', 'The task cannot be cancelled.');
      Object.assign(task, { isComplete: true, isCancelable: false, result: 'cancelled', resultCode: 1 });
    }
    json(response, 200, task);
  }

  #vms(method: string, response: ServerResponse, [key, action]: string[], body: unknown): void {
    if (key === undefined && method === 'GET') {
      json(response, 200, { vms: this.vms });
    } else if (key === undefined) {
      const { name, ...rest } = body as VmInfo;
      if (this.vms.some((vm) => nameKey(vm.name) === nameKey(name))) {
        throw new VmError(
          'VM_E_CONFIG_DUPLICATE_NAME',
          `A machine is named '${name}' already; choose another name.`,
        );
      }
      json(response, 201, this.addVm(name, rest));
    } else {
      this.#vm(method, response, this.find(key), action, body);
    }
  }

  #vm(method: string, response: ServerResponse, vm: VmInfo, action: string | undefined, body: unknown): void {
    if (action === 'guest') {
      json(response, 200, vm.guest);
    } else if (action === 'hold') {
      this.#hold(method, response, vm, body);
    } else if (action !== undefined) {
      const operation = operations[action];
      if (operation === undefined) throw new VmError('VMPULSE_E_NOT_FOUND', 'No such route.');
      json(response, 202, this.#operate(vm, operation));
    } else if (method === 'DELETE') {
      const code = refusal('delete', vm.state);
      if (code !== undefined) throw new VmError(code, `'${vm.name}' is ${vm.state}; turn it off first.`);
      this.vms = this.vms.filter((other) => other !== vm);
      this.emit('vmDeleted', {}, vm);
      response.writeHead(204).end();
    } else {
      if (method === 'PATCH') applyChange(vm, body as Record<string, unknown>);
      json(response, 200, vm);
    }
  }

  #hold(method: string | undefined, response: ServerResponse, vm: VmInfo | undefined, body: unknown): void {
    const answer = this.holds.ask(method ?? 'GET', vm, body);
    this.holds.show(this.vms);
    if (answer === null) response.writeHead(204).end();
    else json(response, 200, answer);
  }

  #operate(vm: VmInfo, operation: VmOperation): TaskInfo {
    const code = refusal(operation, vm.state);
    if (code !== undefined)
      throw new VmError(code, `'${vm.name}' is ${vm.state}: ${operation} is not possible.`);
    const id = `t${this.tasks.length + 1}`;
    const task: TaskInfo = {
      id,
      vm: { id: vm.id, name: vm.name },
      operation,
      description: `${operation} ${vm.name}`,
      percent: 0,
      isComplete: false,
      isCancelable: true,
      result: null,
      resultCode: null,
      error: null,
      startedAt: '2024-01-01T00:00:00.000Z',
      endedAt: null,
    };
    this.tasks.push(task);
    const answer = { ...task };
    if (!this.slowTasks) {
      const state = endStates[operation];
      if (state !== undefined) {
        const previousState = vm.state;
        Object.assign(vm, { state, stateCode: stateCodes[state] });
        this.emit('stateChanged', { state, stateCode: stateCodes[state], previousState }, vm);
      }
      this.endTask(id);
    }
    return answer;
  }

  find(key: string): VmInfo {
    const vm = this.vms.find((candidate) => candidate.id === key || nameKey(candidate.name) === nameKey(key));
    if (vm === undefined) throw new VmError('VM_E_VM_UNKNOWN', `No machine '${key}'; see vmpulse vm list.`);
    return vm;
  }

  #events(request: IncomingMessage, response: ServerResponse, query: URLSearchParams): void {
    const stream = request.headers.accept === 'text/event-stream';
    const after = query.has('after') ? Number(query.get('after')) : stream ? this.seq : 0;
    if (after < this.oldestSeq - 1) {
      throw new VmError('VMPULSE_E_CURSOR_EXPIRED', `Events before ${this.oldestSeq} are gone.`);
    }
    const vm = query.has('vm') ? this.find(query.get('vm') ?? '') : undefined;
    const types = query.get('type')?.split(',');
    const wanted = this.log.filter(
      (event) => event.seq > after && (vm === undefined || event.data.vm?.id === vm.id),
    );
    const fitting = wanted.filter((event) => types === undefined || types.includes(eventTypeOf(event)));
    if (!stream) {
      const limit = Number(query.get('limit') ?? 1000);
      const events = fitting.slice(0, limit);
      const next = events.length === limit ? (events.at(-1)?.seq ?? after) : Math.max(after, this.seq);
      json(response, 200, { events, next });
      return;
    }
    this.openStream(response);
    for (const event of fitting) response.write(frame(event));
  }

  openStream(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(': hello\n\n');
    this.streams.add(response);
    response.once('close', () => this.streams.delete(response));
  }
}

function vmOf(vm: VmInfo | undefined): { vm?: { id: string; name: string } } {
  return vm === undefined ? {} : { vm: { id: vm.id, name: vm.name } };
}

export function frame(event: VmEvent): string {
  return `id: ${event.seq}\nevent: ${eventTypeOf(event)}\ndata: ${JSON.stringify(event)}\n\n`;
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function problem(response: ServerResponse, error: VmError): void {
  response.writeHead(error.status, { 'content-type': 'application/problem+json' });
  response.end(JSON.stringify(error.toProblem()));
}

function applyChange(vm: VmInfo, body: Record<string, unknown>): void {
  const { values, ...rest } = body;
  Object.assign(vm, rest);
  for (const [key, value] of Object.entries(
    (values ?? {}) as Record<string, string | number | boolean | null>,
  )) {
    if (value === null) delete vm.values[key];
    else vm.values[key] = value;
  }
}
