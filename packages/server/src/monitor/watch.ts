/** One machine's watch, as the lifecycle of machines and the server's answers see it. The monitor makes them. */
import type { CompleteVmConfiguration, GuestInfo, VmReference } from '@vmpulse/wire';
import type { HypervisorEvent, RunningMachine, RunState } from '../hypervisor/hypervisor.ts';
import type { AdditionsRecord, OpenCondition, WatchMemory } from '../machine-record.ts';
import type { AgentWitness, PulseListener, TickListener } from '../tick/source.ts';

/** The part of GuestInfo that the monitor knows. */
export type HeartbeatInfo = Omit<
  GuestInfo,
  'osName' | 'computerName' | 'canShutdown' | 'fileSystems' | 'hold'
> & {
  /** What the ticker's hello said of the guest. */
  readonly hello: AdditionsRecord;
};

/** How a process came to be watched. */
export type Beginning =
  /** Started now, from nothing. */
  | 'booted'
  /** Started now, from a saved state: it ticked before and goes on. */
  | 'restored'
  /** Found again after the service was restarted. */
  | 'adopted'
  /** So too, and the guest has the port of its heartbeat closed: it may have been reset unseen, and boot. */
  | 'adoptedSilent';

/** Why a watch is suspended for a time by the lifecycle. */
export type SuspendReason = 'pausing' | 'saving' | 'resetting' | 'shuttingDown' | 'turningOff';

/**
 * One machine's watch. Order of calls: `begin` when a process exists (started or found), then ticks through `listener`
 * and events through `hypervisorEvent`, in any number; `end` when the process is gone. `begin` may follow again.
 * The monitor appends heartbeat events to the log by itself; the caller appends state events after the call.
 */
export interface Watch {
  readonly listener: TickListener;
  /** Hears the guest agent where it is the heartbeat, and says when it is. */
  readonly pulses: PulseListener;
  /** Sets the question whether input of the ticker's port is unread (`TickSubscription.backlogged`). Never: no. */
  setBacklogProbe(backlogged: () => boolean): void;
  /**
   * `listener.onConnection` follows when the ticker's port is connected; until then nothing can be heard of it.
   * `agent`: the guest agent, null where the machine has no port for one.
   */
  begin(machine: RunningMachine, how: Beginning, runState: RunState, agent: AgentWitness | null): void;
  /** Every event of the hypervisor goes through here first. `exited` becomes heartbeatStopped unless expected. */
  hypervisorEvent(event: HypervisorEvent): void;
  /** QEMU was asked why it stopped the guest: a state that is a stop is told, where no event said so. */
  found(runState: RunState): void;
  /** From now on an exit is what was asked for, and silence is not judged. */
  suspend(reason: SuspendReason): void;
  /** Takes `suspend` back: the operation ended and the guest goes on. A pause of QEMU's own is apart. */
  unsuspend(): void;
  /** An operator holds the watch, or no longer: silence is not judged meanwhile; what is certain is told and tagged. */
  setHeld(held: boolean): void;
  /** The process is gone (after its `exited` event, or as found). `foundDead`: it vanished while nobody looked. */
  end(how: 'ended' | 'foundDead', stderr?: string): void;
  rename(vm: VmReference): void;
  setConfiguration(configuration: CompleteVmConfiguration): void;
  info(): HeartbeatInfo;
  memory(): WatchMemory;
  /** The machine is deleted: its slot is free for another. Every later call does nothing. */
  close(): void;
}

/** What a watch begins with. */
export interface WatchRequest {
  readonly vm: VmReference;
  readonly configuration: CompleteVmConfiguration;
  readonly memory: WatchMemory;
  readonly conditions: readonly OpenCondition[];
  /** Something of `memory()` worth storing changed (armed, interval, a boot learned); not called for ticks. */
  readonly onMemoryChanged?: () => void;
}

/** Makes watches. */
export interface WatchKeeper {
  watch(request: WatchRequest): Watch;
}
