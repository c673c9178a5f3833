/** Sinks: the objects whose methods are called with events, as the original's event interfaces name them. */
import {
  type EventType,
  type RecoveryEventData,
  type VmEvent,
  VmError,
  eventTypeNames,
  eventTypeOf,
  formatHResult,
  hresultName,
  isErrorCode,
  isEvent,
  succeeded,
} from '@vmpulse/wire';
import type { Gap } from './subscription.ts';

/** What a sink's method answers: nothing or an HRESULT. A failure code says "not taken" and is told to `onError`. */
export type SinkResult = void | number | Promise<void | number>;

/** Methods that sinks of the server and of a machine share. */
export interface AnySink {
  /** Every event, of any type, after the type's own method. */
  onEvent?(event: VmEvent): SinkResult;
  /** Events of this sink cannot be had any more; it goes on with what comes after. */
  onGap?(gap: Gap): SinkResult;
}

/** What is told as `OnEventLogged`: what concerns the server, its host or many machines. */
type LoggedEventType =
  | 'taskFailed'
  | 'eventsLost'
  | 'cohortSilent'
  | 'hostSuspended'
  | 'deliverySetAside'
  | 'subscriptionLostPlace'
  | 'webhookDisabled'
  | 'webhookDeadLetter'
  | 'webhookMissed'
  | 'ioError'
  | 'memoryFailure'
  | 'diskSpaceLow'
  | 'diskSpaceRegained'
  | 'diskSpaceUnknown'
  | 'scriptEnded'
  | 'scriptsSkipped'
  | keyof RecoveryEventData;

/**
 * `IVMVirtualServerEvents`, and what vmpulse tells besides. `virtualMachineConfig` is the machine's name. All methods
 * are optional, may be async, and get the whole event as their last argument. One sink's methods are called one after
 * the other, in the order of seq; what they throw disturbs nobody.
 */
export interface VirtualServerSink extends AnySink {
  /** A virtual machine has stopped running. */
  onHeartbeatStopped?(virtualMachineConfig: string, event: VmEvent<'heartbeatStopped'>): SinkResult;
  /** A machine entered a state; `virtualMachineState` is a `VMVMState` number. */
  onVMStateChange?(
    virtualMachineConfig: string,
    virtualMachineState: number,
    event: VmEvent<'stateChanged'>,
  ): SinkResult;
  /** The service started or stopped; `logMessageID` is one of `messageIds`. */
  onServiceEvent?(logMessageID: number, event: VmEvent<'serviceStarted' | 'serviceStopped'>): SinkResult;
  /** Something was logged: an operation failed, events were lost, many guests fell silent at once, the host slept. */
  onEventLogged?(logMessageID: number, event: VmEvent<LoggedEventType>): SinkResult;
  /** Ticks are back after onHeartbeatStopped. */
  onHeartbeatResumed?(virtualMachineConfig: string, event: VmEvent<'heartbeatResumed'>): SinkResult;
  /** The first tick since the machine booted. */
  onHeartbeatStarted?(virtualMachineConfig: string, event: VmEvent<'heartbeatStarted'>): SinkResult;
  /** The guest runs, its additions do not. */
  onAdditionsStopped?(virtualMachineConfig: string, event: VmEvent<'additionsStopped'>): SinkResult;
  onAdditionsResumed?(virtualMachineConfig: string, event: VmEvent<'additionsResumed'>): SinkResult;
  /** A guest cannot be judged: that is never a stop. */
  onVisibilityLost?(virtualMachineConfig: string, event: VmEvent<'visibilityLost'>): SinkResult;
  onVisibilityRegained?(virtualMachineConfig: string, event: VmEvent<'visibilityRegained'>): SinkResult;
  /** Many guests fell silent at once: told after onEventLogged; the stops among them follow one by one. */
  onCohortSilent?(event: VmEvent<'cohortSilent'>): SinkResult;
  /** An operator holds one machine's watch, or all: then `virtualMachineConfig` is null. */
  onHoldStarted?(virtualMachineConfig: string | null, event: VmEvent<'holdStarted'>): SinkResult;
  onHoldEnded?(virtualMachineConfig: string | null, event: VmEvent<'holdEnded'>): SinkResult;
}

/** `IVMVirtualMachineEvents`, and what vmpulse tells besides: the events of one machine. */
export interface VirtualMachineSink extends AnySink {
  /** The machine entered a state; `virtualMachineState` is a `VMVMState` number. */
  onStateChange?(virtualMachineState: number, event: VmEvent<'stateChanged'>): SinkResult;
  /** A shutdown of the machine's hardware was asked for. */
  onRequestShutdown?(event: VmEvent<'shutdownRequested'>): SinkResult;
  onReset?(event: VmEvent<'guestReset'>): SinkResult;
  onTripleFault?(event: VmEvent<'tripleFault'>): SinkResult;
  /** The guest operating system has stopped abruptly. */
  onHeartbeatStopped?(event: VmEvent<'heartbeatStopped'>): SinkResult;
  onConfigurationChanged?(
    configKey: string,
    configData: unknown,
    event: VmEvent<'configurationChanged'>,
  ): SinkResult;
  /** Ticks are back after onHeartbeatStopped. */
  onHeartbeatResumed?(event: VmEvent<'heartbeatResumed'>): SinkResult;
  onHeartbeatStarted?(event: VmEvent<'heartbeatStarted'>): SinkResult;
  onAdditionsStopped?(event: VmEvent<'additionsStopped'>): SinkResult;
  onAdditionsResumed?(event: VmEvent<'additionsResumed'>): SinkResult;
  onVisibilityLost?(event: VmEvent<'visibilityLost'>): SinkResult;
  onVisibilityRegained?(event: VmEvent<'visibilityRegained'>): SinkResult;
  /** An operator holds this machine's watch. A hold on all machines is told to sinks of the server. */
  onHoldStarted?(event: VmEvent<'holdStarted'>): SinkResult;
  onHoldEnded?(event: VmEvent<'holdEnded'>): SinkResult;
}

/** Which method of a sink an event type calls, and with what. */
interface Route<Sink> {
  readonly method: keyof Sink & string;
  readonly call: (sink: Sink, event: VmEvent) => SinkResult;
  /** Another method that the same event calls, after this one. */
  readonly also?: Route<Sink>;
}

/** The routes of a kind of sink, by event type. */
export type Routes<Sink> = Partial<Record<EventType, Route<Sink>>>;

function route<Sink, T extends EventType>(
  type: T,
  method: keyof Sink & string,
  call: (sink: Sink, event: VmEvent<T>) => SinkResult,
): Route<Sink> {
  return { method, call: (sink, event) => (isEvent(event, type) ? call(sink, event) : undefined) };
}

function nameIn(event: VmEvent): string {
  return event.data.vm?.name ?? event.subject ?? '';
}

type Server = VirtualServerSink;

function logged(type: keyof RecoveryEventData): Route<Server> {
  return route<Server, keyof RecoveryEventData>(type, 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  );
}

/** `VMVirtualServerEvent` of the original and the extras, each to its method. */
export const serverRoutes: Routes<VirtualServerSink> = {
  heartbeatStopped: route<Server, 'heartbeatStopped'>(
    'heartbeatStopped',
    'onHeartbeatStopped',
    (sink, event) => sink.onHeartbeatStopped?.(nameIn(event), event),
  ),
  stateChanged: route<Server, 'stateChanged'>('stateChanged', 'onVMStateChange', (sink, event) =>
    sink.onVMStateChange?.(nameIn(event), event.data.stateCode, event),
  ),
  serviceStarted: route<Server, 'serviceStarted'>('serviceStarted', 'onServiceEvent', (sink, event) =>
    sink.onServiceEvent?.(event.data.messageId, event),
  ),
  serviceStopped: route<Server, 'serviceStopped'>('serviceStopped', 'onServiceEvent', (sink, event) =>
    sink.onServiceEvent?.(event.data.messageId, event),
  ),
  taskFailed: route<Server, 'taskFailed'>('taskFailed', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  webhookDisabled: route<Server, 'webhookDisabled'>('webhookDisabled', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  webhookDeadLetter: route<Server, 'webhookDeadLetter'>('webhookDeadLetter', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  webhookMissed: route<Server, 'webhookMissed'>('webhookMissed', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  eventsLost: route<Server, 'eventsLost'>('eventsLost', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  hostSuspended: route<Server, 'hostSuspended'>('hostSuspended', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  deliverySetAside: route<Server, 'deliverySetAside'>('deliverySetAside', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  subscriptionLostPlace: route<Server, 'subscriptionLostPlace'>(
    'subscriptionLostPlace',
    'onEventLogged',
    (sink, event) => sink.onEventLogged?.(event.data.messageId, event),
  ),
  ioError: route<Server, 'ioError'>('ioError', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  memoryFailure: route<Server, 'memoryFailure'>('memoryFailure', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  diskSpaceLow: route<Server, 'diskSpaceLow'>('diskSpaceLow', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  diskSpaceRegained: route<Server, 'diskSpaceRegained'>('diskSpaceRegained', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  diskSpaceUnknown: route<Server, 'diskSpaceUnknown'>('diskSpaceUnknown', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  scriptEnded: route<Server, 'scriptEnded'>('scriptEnded', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  scriptsSkipped: route<Server, 'scriptsSkipped'>('scriptsSkipped', 'onEventLogged', (sink, event) =>
    sink.onEventLogged?.(event.data.messageId, event),
  ),
  recoveryPlanned: logged('recoveryPlanned'),
  recoveryStep: logged('recoveryStep'),
  recoveryHeldBack: logged('recoveryHeldBack'),
  recoverySucceeded: logged('recoverySucceeded'),
  recoveryGaveUp: logged('recoveryGaveUp'),
  cohortSilent: {
    ...route<Server, 'cohortSilent'>('cohortSilent', 'onEventLogged', (sink, event) =>
      sink.onEventLogged?.(event.data.messageId, event),
    ),
    also: route<Server, 'cohortSilent'>('cohortSilent', 'onCohortSilent', (sink, event) =>
      sink.onCohortSilent?.(event),
    ),
  },
  heartbeatResumed: route<Server, 'heartbeatResumed'>(
    'heartbeatResumed',
    'onHeartbeatResumed',
    (sink, event) => sink.onHeartbeatResumed?.(nameIn(event), event),
  ),
  heartbeatStarted: route<Server, 'heartbeatStarted'>(
    'heartbeatStarted',
    'onHeartbeatStarted',
    (sink, event) => sink.onHeartbeatStarted?.(nameIn(event), event),
  ),
  additionsStopped: route<Server, 'additionsStopped'>(
    'additionsStopped',
    'onAdditionsStopped',
    (sink, event) => sink.onAdditionsStopped?.(nameIn(event), event),
  ),
  additionsResumed: route<Server, 'additionsResumed'>(
    'additionsResumed',
    'onAdditionsResumed',
    (sink, event) => sink.onAdditionsResumed?.(nameIn(event), event),
  ),
  visibilityLost: route<Server, 'visibilityLost'>('visibilityLost', 'onVisibilityLost', (sink, event) =>
    sink.onVisibilityLost?.(nameIn(event), event),
  ),
  visibilityRegained: route<Server, 'visibilityRegained'>(
    'visibilityRegained',
    'onVisibilityRegained',
    (sink, event) => sink.onVisibilityRegained?.(nameIn(event), event),
  ),
  holdStarted: route<Server, 'holdStarted'>('holdStarted', 'onHoldStarted', (sink, event) =>
    sink.onHoldStarted?.(event.data.vm?.name ?? null, event),
  ),
  holdEnded: route<Server, 'holdEnded'>('holdEnded', 'onHoldEnded', (sink, event) =>
    sink.onHoldEnded?.(event.data.vm?.name ?? null, event),
  ),
};

type Machine = VirtualMachineSink;

/** `VMVirtualMachineEvents` of the original and the extras, each to its method. */
export const machineRoutes: Routes<VirtualMachineSink> = {
  stateChanged: route<Machine, 'stateChanged'>('stateChanged', 'onStateChange', (sink, event) =>
    sink.onStateChange?.(event.data.stateCode, event),
  ),
  shutdownRequested: route<Machine, 'shutdownRequested'>(
    'shutdownRequested',
    'onRequestShutdown',
    (sink, event) => sink.onRequestShutdown?.(event),
  ),
  guestReset: route<Machine, 'guestReset'>('guestReset', 'onReset', (sink, event) => sink.onReset?.(event)),
  tripleFault: route<Machine, 'tripleFault'>('tripleFault', 'onTripleFault', (sink, event) =>
    sink.onTripleFault?.(event),
  ),
  heartbeatStopped: route<Machine, 'heartbeatStopped'>(
    'heartbeatStopped',
    'onHeartbeatStopped',
    (sink, event) => sink.onHeartbeatStopped?.(event),
  ),
  configurationChanged: route<Machine, 'configurationChanged'>(
    'configurationChanged',
    'onConfigurationChanged',
    (sink, event) => sink.onConfigurationChanged?.(event.data.key, event.data.value, event),
  ),
  heartbeatResumed: route<Machine, 'heartbeatResumed'>(
    'heartbeatResumed',
    'onHeartbeatResumed',
    (sink, event) => sink.onHeartbeatResumed?.(event),
  ),
  heartbeatStarted: route<Machine, 'heartbeatStarted'>(
    'heartbeatStarted',
    'onHeartbeatStarted',
    (sink, event) => sink.onHeartbeatStarted?.(event),
  ),
  additionsStopped: route<Machine, 'additionsStopped'>(
    'additionsStopped',
    'onAdditionsStopped',
    (sink, event) => sink.onAdditionsStopped?.(event),
  ),
  additionsResumed: route<Machine, 'additionsResumed'>(
    'additionsResumed',
    'onAdditionsResumed',
    (sink, event) => sink.onAdditionsResumed?.(event),
  ),
  visibilityLost: route<Machine, 'visibilityLost'>('visibilityLost', 'onVisibilityLost', (sink, event) =>
    sink.onVisibilityLost?.(event),
  ),
  visibilityRegained: route<Machine, 'visibilityRegained'>(
    'visibilityRegained',
    'onVisibilityRegained',
    (sink, event) => sink.onVisibilityRegained?.(event),
  ),
  holdStarted: route<Machine, 'holdStarted'>('holdStarted', 'onHoldStarted', (sink, event) =>
    sink.onHoldStarted?.(event),
  ),
  holdEnded: route<Machine, 'holdEnded'>('holdEnded', 'onHoldEnded', (sink, event) =>
    sink.onHoldEnded?.(event),
  ),
};

/** The event types a sink has methods for; undefined when it takes every event. */
export function typesOf<Sink extends AnySink>(sink: Sink, routes: Routes<Sink>): EventType[] | undefined {
  if (typeof sink.onEvent === 'function') return undefined;
  return eventTypeNames.filter((type) =>
    routesOf(routes, type).some(({ method }) => typeof sink[method] === 'function'),
  );
}

/** The methods that an event of a type calls, in their order. */
function routesOf<Sink>(routes: Routes<Sink>, type: EventType): Route<Sink>[] {
  const found = routes[type];
  if (found === undefined) return [];
  return found.also === undefined ? [found] : [found, found.also];
}

/** A method that failed, and on what. */
export interface SinkFailure {
  readonly method: string;
  readonly event: VmEvent | undefined;
  readonly error: VmError;
}

/** Calls a sink's methods for one event, one after the other. Never rejects: failures go to `onFailure`. */
export async function dispatch<Sink extends AnySink>(
  sink: Sink,
  routes: Routes<Sink>,
  event: VmEvent,
  onFailure: (failure: SinkFailure) => void,
): Promise<void> {
  for (const { method, call } of routesOf(routes, eventTypeOf(event)))
    await attempt(method, event, () => call(sink, event), onFailure);
  await attempt('onEvent', event, () => sink.onEvent?.(event), onFailure);
}

/** Calls one method; what it throws and a failure code it answers become one failure. */
export async function attempt(
  method: string,
  event: VmEvent | undefined,
  call: () => SinkResult,
  onFailure: (failure: SinkFailure) => void,
): Promise<void> {
  const where =
    event === undefined ? `The sink's ${method}` : `The sink's ${method}, called with event ${event.seq},`;
  try {
    const result: unknown = await call();
    if (typeof result !== 'number' || succeeded(result)) return;
    const name = hresultName(result);
    const error = new VmError(
      isErrorCode(name) ? name : 'E_FAIL',
      `${where} answered ${formatHResult(result)}${isErrorCode(name) ? ` (${name})` : ''}.`,
    );
    onFailure({ method, event, error });
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    onFailure({ method, event, error: new VmError('E_FAIL', `${where} failed: ${why}`, { cause: thrown }) });
  }
}
