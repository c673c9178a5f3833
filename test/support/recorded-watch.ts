/** Watches that write down what the lifecycle tells them, and tell an unexpected exit as the monitor does. */
import type { RunState } from '../../packages/server/src/hypervisor/hypervisor.ts';
import type { EventDraft, Verdict } from '@vmpulse/wire';
import type { EventLog } from '../../packages/server/src/event/log.ts';
import type { AdditionsRecord, WatchMemory } from '../../packages/server/src/machine-record.ts';
import type {
  HeartbeatInfo,
  Watch,
  WatchKeeper,
  WatchRequest,
} from '../../packages/server/src/monitor/watch.ts';

/** One recorded watch; `calls` are words such as `begin booted running`, `event exited`, `suspend saving`. */
export interface RecordedWatch extends Watch {
  readonly request: WatchRequest;
  readonly calls: string[];
  /** What QEMU was found to do when it was asked. */
  readonly states: RunState[];
  ticks: number;
  /** The probe it was given last. */
  backlogged: () => boolean;
  hello: AdditionsRecord;
  kept: WatchMemory;
  /** The verdict it shows. */
  verdict: Verdict;
  /** What else it shows, in place of nothing. */
  shown: Partial<HeartbeatInfo>;
}

const nothing: AdditionsRecord = { version: null, osName: null, computerName: null };

/** Makes recorded watches, found again by the machine's id (the newest of an id counts). */
export class RecordedWatches implements WatchKeeper {
  readonly #log: EventLog;
  readonly #watches = new Map<string, RecordedWatch>();

  constructor(log: EventLog) {
    this.#log = log;
  }

  of(vmId: string): RecordedWatch {
    const watch = this.#watches.get(vmId);
    if (watch === undefined) throw new Error(`Nobody asked for a watch of ${vmId}.`);
    return watch;
  }

  watch(request: WatchRequest): Watch {
    const watch = recordedWatch(request, this.#log);
    this.#watches.set(request.vm.id, watch);
    return watch;
  }
}

function recordedWatch(request: WatchRequest, log: EventLog): RecordedWatch {
  const calls: string[] = [];
  let { vm } = request;
  let exitExpected = false;
  const stopped = (cause: 'processExit' | 'foundDead'): void => {
    const evidence = {
      lastTickAt: null,
      sinceLastTickMs: null,
      silenceMs: null,
      subtracted: { suspendedMs: 0, runDelayMs: 0 },
      intervalMs: null,
      marginMs: null,
      witnesses: [],
    };
    const draft: EventDraft = {
      type: 'heartbeatStopped',
      vm,
      timeMs: 0,
      data: { verdict: 'exited', cause, evidence },
    };
    log.append(draft).catch(() => undefined);
  };
  const watch: RecordedWatch = {
    request,
    calls,
    ticks: 0,
    states: [],
    backlogged: () => false,
    hello: nothing,
    kept: request.memory,
    verdict: 'notObserved',
    shown: {},
    listener: {
      onHello: () => undefined,
      onTick: () => {
        watch.ticks += 1;
      },
      onBye: () => undefined,
      onRejected: () => undefined,
      onConnection: () => undefined,
    },
    pulses: { wantedEveryMs: () => null, onPulse: () => undefined },
    setHeld: (held) => {
      calls.push(`held ${held}`);
    },
    begin: (_machine, how, runState) => {
      exitExpected = runState === 'shutdown';
      calls.push(`begin ${how} ${runState}`);
    },
    hypervisorEvent: (event) => {
      calls.push(`event ${event.kind}`);
      if (event.kind === 'shutdown' && event.byGuest) exitExpected = true;
      if (event.kind === 'exited' && !exitExpected) stopped('processExit');
    },
    found: (runState) => {
      watch.states.push(runState);
    },
    suspend: (reason) => {
      if (reason === 'turningOff' || reason === 'saving') exitExpected = true;
      calls.push(`suspend ${reason}`);
    },
    unsuspend: () => {
      exitExpected = false;
      calls.push('unsuspend');
    },
    end: (how, stderr) => {
      if (how === 'foundDead') stopped('foundDead');
      calls.push(stderr === undefined || stderr === '' ? `end ${how}` : `end ${how}: ${stderr}`);
    },
    setBacklogProbe: (probe) => {
      watch.backlogged = probe;
    },
    rename: (reference) => {
      vm = reference;
    },
    setConfiguration: ({ heartbeat }) => calls.push(`configuration ${heartbeat.intervalMs}`),
    info: () => ({ ...heartbeatInfo(watch.hello), verdict: watch.verdict, ...watch.shown }),
    memory: () => watch.kept,
    close: () => calls.push('close'),
  };
  return watch;
}

function heartbeatInfo(hello: AdditionsRecord): HeartbeatInfo {
  return {
    isHeartbeating: false,
    heartbeatPercentage: null,
    verdict: 'notObserved',
    lastTickAgoMs: null,
    intervalMs: null,
    source: null,
    additions: { version: hello.version },
    stoppedSeq: null,
    hello,
  };
}
