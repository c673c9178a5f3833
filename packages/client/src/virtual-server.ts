/** The virtual server, `IVMVirtualServer` of the original. */
import {
  type EventPage,
  type EventType,
  type HoldInfo,
  type ScriptInfo,
  type ScriptSettings,
  type ScriptTrigger,
  type ServerInfo,
  type VmConfiguration,
  VmError,
  type VmEvent,
  eventTypeNames,
} from '@vmpulse/wire';
import { type AdviseOptions, type Connection, checkedAfter, gapError } from './connection.ts';
import { DurableSubscriptions } from './durable-subscriptions.ts';
import { readHoldInfo, readList, readScriptSettings, readTaskInfo, readVmInfo } from './answer.ts';
import { type HoldOptions, beginHold } from './hold.ts';
import { Incidents } from './incident.ts';
import { eventPageSize, maxNewestEvents } from './limits.ts';
import type { Link } from './link.ts';
import { adviseSink } from './named-sink.ts';
import { newestEvents } from './newest-events.ts';
import { type ConnectOptions, checkedAddress, openLink } from './open-link.ts';
import {
  type AttachScriptOptions,
  attachScript,
  fetchScript,
  listScripts,
  removeScript,
  serverScripts,
} from './script.ts';
import { ServerRecovery } from './recovery.ts';
import { type VirtualServerSink, serverRoutes } from './sink.ts';
import { type Gap, Subscription } from './subscription.ts';
import { Task } from './task.ts';
import type { FetchFunction, RequestOptions } from './transport.ts';
import { VirtualMachine } from './virtual-machine.ts';
import { Webhooks } from './webhook.ts';

/** Which events to list. */
export interface ListEventsOptions extends RequestOptions {
  /** Only those with a greater seq; default 0: all that the server keeps. */
  after?: number;
  /** At most this many; the server has its own bound (1,000). */
  limit?: number;
  /** Name or id of a machine, or the machine. */
  vm?: string | VirtualMachine;
  types?: readonly EventType[];
}

/** Which events to iterate over. */
export interface EventsOptions {
  /** Only those with a greater seq. Default: from now on when following, else all that the server keeps. */
  after?: number;
  /** Name or id of a machine, or the machine. A deleted one is found by its id. */
  vm?: string | VirtualMachine;
  types?: readonly EventType[];
  /** Only the newest so many of those that are there, 1 to 10,000; when following, what comes follows them. */
  last?: number;
  /** Go on with events as they come (default), or end with the newest there is. */
  follow?: boolean;
  /** Ends the iteration, without error. */
  signal?: AbortSignal;
  /** Told of events that cannot be had any more; without it the iteration ends with VMPULSE_E_CURSOR_EXPIRED. */
  onGap?: (gap: Gap) => void;
  /** The event stream was lost (and why) or is up again (undefined). */
  onConnectionChange?: (error: VmError | undefined) => void;
}

/**
 * A vmpulse server. Errors of every request, besides its own: VMPULSE_E_UNREACHABLE, VM_E_TIMED_OUT, E_ABORT,
 * VMPULSE_E_UNAUTHENTICATED, E_ACCESSDENIED, E_UNEXPECTED.
 */
export class VirtualServer {
  /** What is done about guests that stop, where the machine does not say otherwise. */
  readonly recovery: ServerRecovery;
  /** What was kept of guests that stopped. */
  readonly incidents: Incidents;
  readonly #link: Link;

  /** Made by VirtualServer.connect, or by connect of the Node entry. */
  constructor(link: Link) {
    this.#link = link;
    this.recovery = new ServerRecovery(link);
    this.incidents = new Incidents(link);
  }

  /** Connects to `http://HOST:PORT` or `https://…`, and asks who is there. Unix sockets: `@vmpulse/client/node`. */
  static async connect(address: string, options: ConnectOptions = {}): Promise<VirtualServer> {
    const fetch: FetchFunction = options.fetch ?? ((url, init) => globalThis.fetch(url, init));
    return new VirtualServer(await openLink(checkedAddress(address), address, fetch, options));
  }

  /** The address it was connected with. */
  get address(): string {
    return this.#link.transport.address;
  }

  /** Name, version, host, limits, counts, newest event. */
  info(options: RequestOptions = {}): Promise<ServerInfo> {
    return this.#link.info(options);
  }

  /** All machines. */
  async virtualMachines(options: RequestOptions = {}): Promise<VirtualMachine[]> {
    const answer = await this.#link.request('GET', '/v1/vms', options);
    return readList(answer, 'vms', readVmInfo).map((info) => new VirtualMachine(this.#link, info));
  }

  /** A machine by its name (in any case) or id. Errors: VM_E_VM_UNKNOWN. */
  async findVirtualMachine(nameOrId: string, options: RequestOptions = {}): Promise<VirtualMachine> {
    // An empty or a dotted segment would be another route.
    if (['', '.', '..'].includes(nameOrId.trim())) {
      throw new VmError('VM_E_VM_UNKNOWN', `No machine is named '${nameOrId}'.`);
    }
    const answer = await this.#link.request('GET', `/v1/vms/${encodeURIComponent(nameOrId)}`, options);
    return new VirtualMachine(this.#link, readVmInfo(answer));
  }

  /** Undefined where there is none: what the original answers as S_FALSE. */
  async tryFindVirtualMachine(
    nameOrId: string,
    options: RequestOptions = {},
  ): Promise<VirtualMachine | undefined> {
    try {
      return await this.findVirtualMachine(nameOrId, options);
    } catch (error) {
      if (error instanceof VmError && error.code === 'VM_E_VM_UNKNOWN') return undefined;
      throw error;
    }
  }

  /** Errors: VM_E_CONFIG_*, VM_E_PREF_ILLEGAL_VALUE (with `field`), VM_E_TOO_MANY_VMS. */
  async createVirtualMachine(
    configuration: VmConfiguration,
    options: RequestOptions = {},
  ): Promise<VirtualMachine> {
    const answer = await this.#link.request('POST', '/v1/vms', { ...options, body: configuration });
    return new VirtualMachine(this.#link, readVmInfo(answer));
  }

  /** Errors: VM_E_VM_UNKNOWN, VM_E_VM_RUNNING. */
  async deleteVirtualMachine(vm: string | VirtualMachine, options: RequestOptions = {}): Promise<void> {
    const machine = typeof vm === 'string' ? await this.findVirtualMachine(vm, options) : vm;
    await machine.delete(options);
  }

  /** The holds on watches: that on all machines first, then by the machines' names. */
  async holds(options: RequestOptions = {}): Promise<HoldInfo[]> {
    return readList(await this.#link.request('GET', '/v1/holds', options), 'holds', readHoldInfo);
  }

  /**
   * Holds the watches of all machines for a time, those made meanwhile included; see VirtualMachine.hold.
   * Errors: E_INVALIDARG without a length, VMPULSE_E_REQUEST_INVALID (with `field`), VMPULSE_E_LOG_UNAVAILABLE.
   */
  hold(options: HoldOptions): Promise<HoldInfo> {
    return beginHold(this.#link, '/v1/holds', options);
  }

  /** Ends the hold on all machines; holds of single machines go on. Errors: VMPULSE_E_NOT_FOUND when there is none. */
  async release(options: RequestOptions = {}): Promise<void> {
    await this.#link.request('DELETE', '/v1/holds', options);
  }

  /** Its webhooks: create, test, replay, ... */
  get webhooks(): Webhooks {
    return new Webhooks(this.#link);
  }

  /** Scripts of the server and of all machines. */
  async scripts(options: RequestOptions = {}): Promise<ScriptInfo[]> {
    return listScripts(this.#link, '/v1/scripts', options);
  }

  /**
   * Attaches a script that runs for such events of the server and of every machine: an executable's absolute path and
   * its arguments. It runs while `vsScriptsEnabled`. Errors: VM_E_SCRIPT_ALREADY_EXISTS, E_INVALIDARG for no event
   * type, VMPULSE_E_REQUEST_INVALID (with `field`), VM_E_OUT_OF_RESOURCE, VMPULSE_E_LOG_UNAVAILABLE.
   */
  attachScriptToEvent(
    eventType: ScriptTrigger | number,
    command: readonly string[],
    options: AttachScriptOptions = {},
  ): Promise<ScriptInfo> {
    return attachScript(this.#link, serverScripts, eventType, command, options);
  }

  /** Errors: VMPULSE_E_NOT_FOUND, E_INVALIDARG. */
  fetchScriptByEvent(eventType: ScriptTrigger | number, options: RequestOptions = {}): Promise<ScriptInfo> {
    return fetchScript(this.#link, serverScripts, eventType, options);
  }

  /** What waits for it is dropped, a run under way goes on. Errors: VMPULSE_E_NOT_FOUND, E_INVALIDARG. */
  removeScriptFromEvent(eventType: ScriptTrigger | number, options: RequestOptions = {}): Promise<void> {
    return removeScript(this.#link, serverScripts, eventType, options);
  }

  /** `VSScriptsEnabled` and `VMScriptsEnabled`: which scripts run. */
  async scriptSettings(options: RequestOptions = {}): Promise<ScriptSettings> {
    return readScriptSettings(await this.#link.request('GET', '/v1/script-settings', options));
  }

  /** Errors: VMPULSE_E_LOG_UNAVAILABLE. */
  async changeScriptSettings(
    change: Partial<ScriptSettings>,
    options: RequestOptions = {},
  ): Promise<ScriptSettings> {
    const request = { ...options, body: change };
    return readScriptSettings(await this.#link.request('PATCH', '/v1/script-settings', request));
  }

  /** Tasks under way and those that ended lately. */
  async tasks(options: RequestOptions = {}): Promise<Task[]> {
    const answer = await this.#link.request('GET', '/v1/tasks', options);
    return readList(answer, 'tasks', readTaskInfo).map((info) => new Task(this.#link, info));
  }

  /** Errors: VMPULSE_E_NOT_FOUND. */
  async task(id: string, options: RequestOptions = {}): Promise<Task> {
    const answer = await this.#link.request('GET', `/v1/tasks/${encodeURIComponent(id)}`, options);
    return new Task(this.#link, readTaskInfo(answer));
  }

  /**
   * Connects a sink to the events of all machines and of the server, from now on (or from `after`). It is told each
   * event once, in order, over lost connections and restarts of the server too. See Connection for where "now" is.
   * All sinks of this object share one stream; a slow one reads the log at its own pace and delays no other.
   */
  advise(sink: VirtualServerSink, options: AdviseOptions = {}): Connection {
    return adviseSink(this.#link, sink, serverRoutes, options);
  }

  /** Durable subscriptions: made by hand, looked at, their dead letters. Sinks take from them: advise with a `name`. */
  get subscriptions(): DurableSubscriptions {
    return new DurableSubscriptions(this.#link);
  }

  /** One page of the log; `next` is the `after` of the page that follows. Errors: VMPULSE_E_CURSOR_EXPIRED. */
  listEvents(options: ListEventsOptions = {}): Promise<EventPage<VmEvent>> {
    const { after, limit, vm, types, ...request } = options;
    const vmKey = typeof vm === 'object' ? vm.id : vm;
    const query = { after: checkedAfter(after) ?? 0, limit: limit ?? eventPageSize, vm: vmKey, types };
    return this.#link.page(query, request);
  }

  /** Events to iterate over, at the pace of the loop. Errors: VM_E_VM_UNKNOWN, and those of listEvents. */
  async *events(options: EventsOptions = {}): AsyncGenerator<VmEvent, void, undefined> {
    if (options.signal?.aborted === true) return;
    const unknown = options.types?.find((type) => !eventTypeNames.includes(type));
    if (unknown !== undefined) throw new VmError('E_INVALIDARG', `There is no event type '${unknown}'.`);
    const vmId = await this.#vmId(options.vm);
    if (options.last !== undefined) yield* this.#newest(options, checkedLast(options.last), vmId);
    else if (options.follow === false) yield* this.#kept(options, vmId);
    else yield* this.#following(options, vmId);
  }

  /** Ends every sink and iteration; nothing of it keeps the process alive. Requests end with E_ABORT from now on. */
  close(): Promise<void> {
    this.#link.close();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #vmId(vm: string | VirtualMachine | undefined): Promise<string | undefined> {
    if (vm === undefined || typeof vm === 'object') return vm?.id;
    if (/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/iu.test(vm)) return vm.toLowerCase();
    return (await this.findVirtualMachine(vm)).id;
  }

  async *#kept(options: EventsOptions, vmId: string | undefined): AsyncGenerator<VmEvent, void, undefined> {
    const newest = (await this.#link.info()).seq;
    let after = checkedAfter(options.after) ?? 0;
    while (after < newest && options.signal?.aborted !== true) {
      const page = await this.#link.page({ after, limit: eventPageSize, vm: vmId, types: options.types });
      for (const event of page.events) if (event.seq <= newest) yield event;
      if (page.next <= after) return;
      after = page.next;
    }
  }

  async *#newest(
    options: EventsOptions,
    last: number,
    vm: string | undefined,
  ): AsyncGenerator<VmEvent, void, undefined> {
    const { seq: newest, oldestSeq: oldest } = await this.#link.info();
    const after = checkedAfter(options.after) ?? 0;
    const { types } = options;
    for (const event of await newestEvents(this.#link, { last, after, vm, types, newest, oldest })) {
      if (options.signal?.aborted === true) return;
      yield event;
    }
    if (options.follow !== false) yield* this.#following({ ...options, after: Math.max(after, newest) }, vm);
  }

  async *#following(
    options: EventsOptions,
    vmId: string | undefined,
  ): AsyncGenerator<VmEvent, void, undefined> {
    const subscription = new Subscription(this.#link, {
      after: checkedAfter(options.after),
      vmId,
      types: options.types,
      onConnectionChange: options.onConnectionChange,
    });
    options.signal?.addEventListener('abort', subscription.close, { once: true });
    if (options.signal?.aborted === true) subscription.close();
    try {
      for (;;) {
        const item = await subscription.next();
        if (item === undefined) break;
        if ('event' in item) yield item.event;
        else if (options.onGap === undefined) throw gapError(item.gap);
        else options.onGap(item.gap);
      }
      if (subscription.error !== undefined) throw subscription.error;
    } finally {
      options.signal?.removeEventListener('abort', subscription.close);
      subscription.close();
    }
  }
}

/** Errors: E_INVALIDARG. */
function checkedLast(last: number): number {
  if (Number.isSafeInteger(last) && last >= 1 && last <= maxNewestEvents) return last;
  throw new VmError(
    'E_INVALIDARG',
    `last is ${last}; it must be a whole number from 1 to ${maxNewestEvents}.`,
  );
}
