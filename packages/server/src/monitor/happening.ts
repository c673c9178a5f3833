/** What the hypervisor tells of a machine, and what that means for its guest's watch. */
import type { HypervisorEvent, RunState } from '../hypervisor/hypervisor.ts';
import { crash, endDump, isCrash } from './crash.ts';
import { shutdownWindowMs } from './deadline.ts';
import { findings } from './found.ts';
import type { Guest } from './guest.ts';
import { attentive } from './registry.ts';
import type { Teller } from './teller.ts';

type EventOf<K extends HypervisorEvent['kind']> = Extract<HypervisorEvent, { kind: K }>;

/** One event. Never called without a process. */
export function happen(guest: Guest, teller: Teller, event: HypervisorEvent): void {
  if (isCrash(event)) return crash(guest, teller, event);
  switch (event.kind) {
    case 'exited':
      onExited(guest, teller, event);
      break;
    case 'shutdown':
      if (!event.byGuest) break;
      endDump(guest, teller, event.atMs);
      hold(guest, teller, 'guestShutdown');
      break;
    case 'reset':
      onReset(guest, teller, event);
      break;
    case 'stopped':
      hold(guest, teller, 'qemu');
      break;
    case 'resumed':
      guest.resume(guest.suspensions.remove('qemu'));
      break;
    case 'suspended':
      hold(guest, teller, 'sleep');
      break;
    case 'wakeup':
      guest.resume(guest.suspensions.remove('sleep'));
      break;
    case 'port':
      if (event.port === 'heartbeat') onPort(guest, event.open);
      else onAgentPort(guest, event.open);
      break;
    case 'connectionRegained':
      find(guest, teller, event.runState, 'found so when QEMU answered again');
      break;
    case 'hibernated':
    case 'connectionLost':
    case 'powerButton':
    case 'ioError':
    case 'memoryFailure':
      break;
  }
}

/** QEMU's run state was asked for because events may have been missed: brings the watch in line with it. */
export function find(guest: Guest, teller: Teller, runState: RunState, detail: string): void {
  const finding = findings[runState];
  switch (finding.is) {
    case 'stopped': {
      const cause = finding.verdict === 'panicked' ? 'guestPanicked' : finding.verdict;
      guest.trust.untilDrained(guest.backlogged);
      // Told since the guest began to run, so it is the same stop, however many services find it.
      if (guest.announcer.stopVerdict === finding.verdict) teller.stoppedStill();
      else teller.stopped(finding.verdict, cause, guest.nowMs, { detail });
      break;
    }
    case 'suspended':
      hold(guest, teller, finding.reason);
      break;
    case 'ended':
      hold(guest, teller, 'guestShutdown');
      break;
    case 'running':
      guest.resume(guest.suspensions.remove('qemu', 'sleep', 'guestShutdown'));
      break;
    case 'unclear':
      break;
  }
}

/** Opens the window in which a guest that was reset may boot. */
export function openBootWindow(guest: Guest, byHost: boolean): void {
  const { nowMs } = guest;
  const untilMs = guest.boots.windowEndMs(nowMs, guest.policy.bootWindowMaxMs, byHost);
  guest.enter({ is: 'window', kind: 'boot', openedMs: nowMs, untilMs });
}

/** QEMU told it, so it is seen, and knows why nothing will be heard. */
function hold(guest: Guest, teller: Teller, reason: 'qemu' | 'sleep' | 'guestShutdown'): void {
  teller.visible();
  guest.hold(reason);
}

function onExited(guest: Guest, teller: Teller, event: EventOf<'exited'>): void {
  guest.trust.revoke();
  // It goes on elsewhere.
  if (event.migrated === true || guest.suspensions.exitExpected) return;
  const { exitCode, signal, stderr } = event;
  teller.stopped('exited', 'processExit', event.atMs, { exit: { exitCode, signal, stderr } });
}

function onReset(guest: Guest, teller: Teller, event: EventOf<'reset'>): void {
  const { announcer, suspensions, host, slot, nowMs } = guest;
  endDump(guest, teller, event.atMs);
  teller.visible();
  guest.trust.untilDrained(guest.backlogged);
  const stays = isWatchedOn(guest, event.byGuest);
  // The reset itself closes the guest's ports; the guest did not.
  guest.tickerGone = null;
  guest.agentGone = null;
  guest.agentAloneSinceMs = null;
  guest.formerSource = guest.source ?? guest.formerSource;
  guest.source = null;
  guest.portOpened = false;
  guest.started = false;
  announcer.forgetVerdict();
  if (!event.byGuest) guest.retelling = 'all';
  else if (guest.retelling === 'none') guest.retelling = 'facts';
  guest.boots.started(nowMs);
  host.registry.reboot(slot, nowMs);
  // What it was before, it is no more. Paused it stays until QEMU says otherwise.
  guest.resume(suspensions.remove('guestShutdown', 'sleep'));
  // A ticker that was gone before, or never there, need not come with this boot: nothing is awaited.
  if (announcer.isOpen('additionsStopped') && !stays) guest.armed = false;
  if (guest.armed) {
    openBootWindow(guest, !event.byGuest);
  } else {
    guest.pace.forget();
    guest.enter({ is: 'unarmed' });
  }
  guest.onMemoryChanged();
}

/** Additions that stopped need not come with the next boot; others that watch it are awaited, and a slow shutdown's. */
function isWatchedOn(guest: Guest, byGuest: boolean): boolean {
  const { phase, additionsLostAtMs, additionsGone, nowMs } = guest;
  if (phase.is !== 'additionsStopped' && guest.hasOtherHeartbeat) return true;
  return byGuest && additionsGone === 'portClosed' && nowMs - additionsLostAtMs < shutdownWindowMs;
}

function onPort(guest: Guest, open: boolean): void {
  const { phase } = guest;
  if (open) {
    guest.portOpened = true;
    guest.sinceClosed.restore();
    guest.tickerGone = null;
  } else if (phase.is !== 'window' || (phase.kind === 'boot' && guest.portOpened)) {
    guest.tickerGone ??= 'portClosed';
    // After a stall of the service it is heard of before the ticks that were sent before it; a later one takes it back.
    guest.sinceClosed.untilDrained(guest.backlogged);
    guest.host.registry.set(guest.slot, attentive, true);
  }
}

function onAgentPort(guest: Guest, open: boolean): void {
  guest.agentAloneSinceMs = null;
  if (open) guest.agentGone = null;
  else if (guest.phase.is !== 'window') guest.agentGone ??= 'portClosed';
}
