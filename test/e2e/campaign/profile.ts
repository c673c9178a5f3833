/** The guests of a campaign: how each is configured and booted. */
import type { VmConfiguration } from '@vmpulse/wire';

/** One way a guest is set up. Its state after its first ticks is saved once, and every round begins with it. */
export interface Profile {
  /** Kernel parameters beside the image's own. */
  readonly parameters: string;
  readonly configuration: Partial<VmConfiguration>;
  /** Has a disk, made for the campaign and only read. */
  readonly disk?: boolean;
  /** Its ticker speaks: the state is saved once it has. */
  readonly ticks: boolean;
  /** Its agent answers: likewise. */
  readonly answers: boolean;
  /** What its console is told before its state is saved. */
  readonly prepared?: string;
  /** Every round boots it: nothing is saved. */
  readonly cold?: boolean;
}

const ordinary: Profile = { parameters: '', configuration: {}, ticks: true, answers: true };

/** Longer than a host stands still that many others use, so that only the fault has it fire. */
export const watchdogS = 12;

/** Every profile. */
export const profiles = {
  ordinary,
  /** Ten ticks a second. */
  fast: { ...ordinary, parameters: 'vmpulse.interval_ms=100' },
  /** Ticker without a guest agent. */
  tickerOnly: { ...ordinary, parameters: 'vmpulse.agent=0', answers: false },
  /** Guest agent without a ticker. */
  agentOnly: { ...ordinary, parameters: 'vmpulse.ticker=0', ticks: false },
  /** Neither. */
  bare: {
    ...ordinary,
    parameters: 'vmpulse.ticker=0 vmpulse.agent=0',
    ticks: false,
    answers: false,
    cold: true,
  },
  disk: { ...ordinary, disk: true },
  /** Its ticker begins 4 s after the rest of its boot. */
  slow: { ...ordinary, parameters: 'vmpulse.boot_delay_s=4' },
  /** Its ticker was started by hand, and no boot starts it. */
  endless: {
    ...ordinary,
    parameters: 'vmpulse.ticker=0 vmpulse.agent=0',
    answers: false,
    prepared: 'start-ticker',
  },
  /** The kernel restarts the machine by a triple fault. */
  tripleFault: { ...ordinary, parameters: 'reboot=t' },
  watchdogPause: watched('pause'),
  watchdogNone: watched('none'),
} satisfies Record<string, Profile>;

/** Name of a profile. */
export type ProfileName = keyof typeof profiles;

function watched(action: 'pause' | 'none'): Profile {
  return {
    ...ordinary,
    parameters: `vmpulse.watchdog=1 vmpulse.watchdog_s=${watchdogS}`,
    configuration: { watchdog: { model: 'i6300esb', action } },
  };
}
