/** Served machines with recovery over them: stops are told by the test, and what recovery tells is written in words. */
import {
  type Evidence,
  type EventDataByType,
  type EventType,
  type RecoveryConfiguration,
  type StopVerdict,
  eventTypeOf,
} from '@vmpulse/wire';
import { recoverySightMs } from '../../packages/server/src/limits.ts';
import { Recovery, type RecoveryPorts } from '../../packages/server/src/recovery/execute.ts';
import { ServedMachines } from './served-machines.ts';

/** The evidence of a stop that was only told. */
export const noEvidence: Evidence = {
  lastTickAt: null,
  sinceLastTickMs: null,
  silenceMs: null,
  subtracted: { suspendedMs: 0, runDelayMs: 0 },
  intervalMs: null,
  marginMs: null,
  witnesses: [],
};

/** Machines, and what recovers them. */
export class RecoveredMachines extends ServedMachines {
  recovery!: Recovery;
  /** Why the host is not well. */
  trouble: string | null = null;

  /** Starts the service and its recovery. */
  async serve(change: Partial<RecoveryPorts> = {}): Promise<void> {
    this.recovery = new Recovery({
      clock: this.clock,
      log: this.log,
      store: this.documents,
      machines: this.server,
      evidence: null,
      logger: { info: () => undefined, warn: () => undefined, error: () => undefined },
      hostTrouble: () => this.trouble,
      random: () => 0,
      ...change,
    });
    await this.server.load();
    await this.recovery.load();
    await this.server.start();
    this.recovery.start();
    await this.settle();
  }

  /** kill -9, and a new service. */
  async restart(change: Partial<RecoveryPorts> = {}): Promise<void> {
    this.kill();
    await this.serve(change);
  }

  /** Until the service has seen its guests for long enough. */
  see(): Promise<void> {
    return this.clock.advanceAsync(recoverySightMs + 1_000);
  }

  /** Makes a machine that runs; answers its id. */
  async running(recover: RecoveryConfiguration, name = 'web-1'): Promise<string> {
    const id = await this.create({ name, recovery: { minRunningMs: 0, settleMs: 30_000, ...recover } });
    await this.bring(id, 'running');
    return id;
  }

  /** Tells an event of a machine. */
  async say<T extends EventType>(id: string, type: T, data: EventDataByType[T]): Promise<void> {
    const vm = { id, name: this.server.get(id).name };
    await this.memory.append({ type, vm, timeMs: this.clock.wallMs(), data } as never);
    await this.settle();
  }

  /** The guest stopped, and its watch says so. */
  async stopped(id: string, verdict: StopVerdict = 'hung', correlated = false): Promise<void> {
    this.watch(id).verdict = verdict;
    await this.say(id, 'heartbeatStopped', {
      verdict,
      cause: 'silence',
      evidence: noEvidence,
      ...(correlated ? { correlated: true as const } : {}),
    });
    await this.settleAll();
  }

  /** Its heartbeat is back. */
  async resumed(id: string): Promise<void> {
    this.watch(id).verdict = 'alive';
    await this.say(id, 'heartbeatResumed', { outageMs: 1, stoppedSeq: null });
    await this.settleAll();
  }

  /** Until all that is ready was done; some milliseconds pass. */
  async settleAll(): Promise<void> {
    for (let turn = 0; turn < 8; turn += 1) {
      await this.settle();
      await this.clock.advanceAsync(1);
    }
  }

  /** What recovery told: `Planned`, `reset begun`, `HeldBack busy`, `GaveUp stages (dry)`, ... */
  async told(after = 0, name?: string): Promise<string[]> {
    const events = (await this.events(after)).filter((each) => name === undefined || each.subject === name);
    return events.flatMap((event) => {
      const type = eventTypeOf(event);
      if (!type.startsWith('recovery')) return [];
      const { step, phase, reason, dryRun } = event.data as unknown as Record<string, unknown>;
      const word =
        type === 'recoveryStep' ? `${String(step)} ${String(phase)}` : type.slice('recovery'.length);
      const why = type === 'recoveryHeldBack' || type === 'recoveryGaveUp' ? ` ${String(reason)}` : '';
      return [`${word}${why}${dryRun === true ? ' (dry)' : ''}`];
    });
  }

  /** Resets that were begun by this service. */
  resets(id: string): number {
    return this.watch(id).calls.filter((call) => call === 'suspend resetting').length;
  }
}
