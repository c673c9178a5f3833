/** What becomes of a guest when it is reset, started, or gets an NMI. */
import type { SimGuest } from './guest.ts';
import type { World } from './world.ts';

/** What becomes of a boot: it comes back, never does, or comes back and dies again. */
export type Fate = 'back' | 'never' | 'again';

/** How a guest takes what is done about it. */
export interface Lot {
  readonly reset: Fate;
  readonly start: Fate;
  /** An NMI makes it panic, or write a dump and reset itself, or does nothing. */
  readonly nmi: 'nothing' | 'panic' | 'reset';
}

/** It was reset or started, and takes it as its lot says. */
export function bootByLot(guest: SimGuest, world: World, how: 'reset' | 'start'): void {
  const { lot, random, kind } = guest;
  if (lot === null || lot[how] === 'back') guest.boot();
  else if (lot[how] === 'never') {
    guest.boot(Number.POSITIVE_INFINITY);
    guest.process?.setLoad({ run: random.pick([0, 0.5, 1]), runDelay: 0 });
  } else {
    guest.boot(kind.bootMs);
    const { boots } = guest;
    world.after(kind.bootMs + random.between(2_000, 40_000), () => {
      guest.whenRunning(boots, () => {
        if (guest.lot === lot) die(guest);
      });
    });
  }
}

/** Its kernel stands still, idle. */
export function die(guest: SimGuest): void {
  guest.halt('hung');
  guest.agentUp = false;
  guest.process?.setLoad({ run: guest.random.between(0, 0.03), runDelay: 0 });
}

/** What hung goes on by itself; what panicked does not. */
export function wake(guest: SimGuest): void {
  if (!guest.halts.has('hung') || guest.process?.serial.includes('panic') === true) return;
  guest.idle();
  guest.agentUp = guest.kind.agent;
  guest.unhalt('hung');
}

/** An NMI. */
export function takeNmi({ lot, process, trace }: SimGuest): void {
  const nmi = lot?.nmi ?? 'nothing';
  trace?.(`an NMI: ${nmi}`);
  if (nmi === 'panic') process?.panic('Kernel panic - not syncing: NMI: Not continuing');
  else if (nmi === 'reset') process?.guestReset();
}
