/** The real recovery of one life of the service, on simulated time, with everything it does shown to the oracle. */
import type { EventLog } from '../../packages/server/src/event/log.ts';
import type { DocumentStore } from '../../packages/server/src/machine-record.ts';
import { Recovery } from '../../packages/server/src/recovery/execute.ts';
import type { Sight } from '../../packages/server/src/recovery/sight.ts';
import type { VirtualServer } from '../../packages/server/src/vm/server.ts';
import type { ServiceLoop } from './loop.ts';
import type { Random } from './random.ts';
import type { RecoveryOracle } from './recovery-oracle.ts';
import type { World } from './world.ts';

const evidenceChannel = 999_998;

/** What it is made of. */
export interface RecoverySurroundings {
  readonly world: World;
  readonly loop: ServiceLoop;
  readonly server: VirtualServer;
  readonly log: EventLog;
  readonly store: DocumentStore;
  readonly sight: Sight;
  readonly random: Random;
  readonly oracle: RecoveryOracle;
}

/** As main.ts makes it; what it asks of machines goes by the oracle. */
export function makeRecovery(around: RecoverySurroundings): Recovery {
  const { world, loop, server, log, store, sight, random, oracle } = around;
  return new Recovery({
    clock: loop,
    log,
    store,
    logger: { info: () => undefined, warn: () => undefined, error: () => undefined },
    machines: {
      get: (vm) => server.get(vm),
      list: () => server.list(),
      recoverable: (vm) => server.recoverable(vm),
      perform: async (vm, operation, stillWanted) => {
        const over = oracle.performing(vm, operation, server);
        const asked = (): boolean => {
          const wanted = stillWanted?.() ?? true;
          if (wanted) oracle.noReturn(vm, operation);
          return wanted;
        };
        try {
          await server.perform(vm, operation, asked);
        } finally {
          over();
        }
      },
    },
    evidence: {
      gather: () =>
        new Promise((resolve) => {
          loop.dirty = true;
          world.after(random.between(5, random.chance(0.1) ? 5_000 : 200), () => {
            loop.input(evidenceChannel, () => {
              loop.dirty = true;
              resolve('kept nothing');
            });
          });
        }),
    },
    seeingSinceMs: () => sight.sinceMs,
    hostTrouble: () => sight.trouble(),
    random: () => random.share(),
  });
}
