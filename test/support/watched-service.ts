/** A virtual server whose watches are those of a real monitor; hypervisor, guests and time are the test's. */
import { Monitor } from '../../packages/server/src/monitor/monitor.ts';
import type { TickListener } from '../../packages/server/src/tick/source.ts';
import type { ServedMachines } from './served-machines.ts';

const nothing = (): void => undefined;

/** Kills the service there is, with its monitor, and starts one with a new monitor, which is answered. */
export async function serveWatched(served: ServedMachines, before: Monitor | undefined): Promise<Monitor> {
  before?.close();
  const observer = {
    stopped: nothing,
    suspected: nothing,
    resumed: nothing,
    laneLag: nothing,
    stalled: nothing,
    rejected: nothing,
    failed: (error: unknown) => {
      throw error;
    },
  };
  const monitor = new Monitor({ clock: served.clock, log: served.memory, observer });
  await served.kill({ watches: monitor }).start();
  await served.settle();
  return monitor;
}

/** Whoever listens for the ticks of the machine that was started or found last. */
export function tickerOf(served: ServedMachines): TickListener {
  const listener = [...served.ticks.listeners.values()].at(-1);
  if (listener === undefined) throw new Error('Nobody listens for ticks.');
  return listener;
}
