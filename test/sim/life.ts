/** A guest's life: it boots, ticks, and from time to time something happens to it. */
import type { SimGuest } from './guest.ts';
import type { Operator } from './operator.ts';
import type { Scenario } from './scenario.ts';
import { disguises } from './disguises.ts';
import { type Stage, type Script, steady } from './stage.ts';
import { stops } from './stops.ts';
import { troubles } from './troubles.ts';

const scripts: Readonly<Record<string, Script>> = { ...stops, ...troubles, ...disguises };

/** What may happen to a guest; all of it unless the scenario says. */
function tableOf({ kinds }: Scenario): readonly Script[] {
  const all = Object.entries(scripts);
  return all.filter(([kind]) => kinds === null || kinds.includes(kind)).map(([, script]) => script);
}

/** Makes the machines and starts them. */
export async function startAll(operator: Operator, guests: readonly SimGuest[]): Promise<void> {
  await Promise.all(
    guests.map(async (guest) => {
      await operator.make(guest);
      await operator.bring(guest, 'startup', 'running');
    }),
  );
}

/** Lives until `endMs`. */
export async function live(stage: Stage, scenario: Scenario, endMs: number): Promise<void> {
  const { world, guest, random } = stage;
  const table = tableOf(scenario);
  await steady(stage);
  for (;;) {
    await world.sleep(Math.min(random.exponential(scenario.faultEveryMs), Math.max(1, endMs - world.nowMs)));
    if (world.nowMs >= endMs) return;
    await steady(stage);
    // Somewhere in its interval, not at its tick.
    await world.sleep(random.between(0, guest.intervalMs));
    if (guest.engaged) continue;
    guest.engaged = true;
    await random.pick(table)(stage);
    await steady(stage);
    guest.engaged = false;
  }
}
