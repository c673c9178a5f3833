/** Faults that are stops: the guest, or the process it lives in, does not go on by itself. */
import { die } from './lot.ts';
import type { Rule } from './rules.ts';
import { comeBack, type Script, steady, told } from './stage.ts';

const panicText = 'Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b';

/** The scripts, by kind. */
export const stops = {
  exit: (stage) => told(stage, 'exit', () => stage.guest.process?.exit(1, 'qemu: fatal')),
  kill: (stage) => told(stage, 'kill', () => stage.guest.process?.kill('SIGKILL')),
  killWhilePaused: async (stage) => {
    const { operator, guest, world, random } = stage;
    if (!(await operator.bring(guest, 'pause', 'paused'))) return;
    await world.sleep(random.between(10, 20_000));
    await told(stage, 'killWhilePaused', () => guest.process?.kill());
  },
  panic: (stage) => told(stage, 'panic', () => stage.guest.process?.panic(panicText)),
  panicSilent: (stage) => {
    const { guest } = stage;
    return told(stage, 'panicSilent', () => {
      guest.halt('hung');
      guest.agentUp = false;
      guest.process?.writeSerial(`[   12.3] ${panicText}\n[   12.4] ---[ end Kernel panic ]---\n`);
      guest.process?.setLoad({ run: 0.99, runDelay: 0 });
    });
  },
  watchdogPause: (stage) => told(stage, 'watchdogPause', () => stage.guest.process?.fireWatchdog('pause')),
  watchdogReset: async (stage) => {
    const { oracle, guest } = stage;
    const episode = oracle.begin(guest, 'watchdogReset');
    guest.process?.fireWatchdog('reset');
    await oracle.settled(episode);
    await steady(stage, 5);
    oracle.end(episode);
  },
  internalError: (stage) =>
    told(stage, 'internalError', () => {
      stage.guest.process?.setRunState('internalError');
      stage.guest.process?.emit({ kind: 'stopped' });
    }),
  tripleFault: async (stage) => {
    const { oracle, guest } = stage;
    const episode = oracle.begin(guest, 'tripleFault');
    guest.process?.tripleFault();
    await oracle.settled(episode);
    await steady(stage, 5);
    oracle.end(episode);
  },
  hang: (stage) => told(stage, 'hang', () => die(stage.guest)),
  spin: (stage) => {
    const { guest, random } = stage;
    return told(stage, 'spin', () => {
      guest.halt('hung');
      guest.agentUp = false;
      guest.process?.setLoad({ run: random.between(0.93, 1), runDelay: 0 });
    });
  },
  busy: (stage) => {
    const { guest, random } = stage;
    return told(stage, 'busy', () => {
      guest.halt('hung');
      guest.agentUp = false;
      const withDisk = random.chance(0.5);
      guest.process?.setLoad({
        run: withDisk ? random.between(0, 1) : random.between(0.1, 0.85),
        runDelay: 0,
      });
      // Enough of it to move between any two readings.
      if (withDisk) guest.process?.setIoRate({ diskOperations: 1_000 });
    });
  },
  crashDump: async (stage) => {
    const { oracle, guest, world, random, operator } = stage;
    const dumping = oracle.begin(guest, 'crashDumping');
    const { deaths, down } = oracle;
    guest.process?.crashLoad();
    guest.dumping = !down;
    guest.halt('hung');
    guest.agentUp = false;
    guest.process?.setLoad({ run: 1, runDelay: 0 });
    await world.sleep(random.between(1_000, 8_000));
    oracle.end(dumping);
    guest.dumping = false;
    // The dump is written: the guest resets itself, and only now is told that it crashed.
    // A service that was not there all the time does not know that it crashed.
    const rule: Partial<Rule> = down || oracle.down || deaths !== oracle.deaths ? { stop: 'may' } : {};
    const episode = oracle.begin(guest, 'crashDump', rule);
    guest.process?.guestReset();
    await oracle.settled(episode);
    await steady(stage, 5);
    oracle.end(episode);
    await operator.state(guest);
  },
  bootHangs: async (stage) => {
    const { oracle, guest, random } = stage;
    const episode = oracle.begin(guest, 'bootHangs');
    guest.process?.guestReset();
    guest.boot(Number.POSITIVE_INFINITY);
    guest.process?.setLoad({ run: random.pick([0, 0.5, 1]), runDelay: 0 });
    await oracle.settled(episode);
    await comeBack(stage, episode);
  },
} as const satisfies Record<string, Script>;
