/** A whole virtual server over the real store that begins and ends holds as fast as it can, until it is killed. */
import { SystemClock } from '../../packages/server/src/clock.ts';
import { FakeHypervisor } from '../../packages/server/src/hypervisor/fake.ts';
import { SqliteStore } from '../../packages/server/src/store/sqlite-store.ts';
import { VirtualServer } from '../../packages/server/src/vm/server.ts';
import { RecordedWatches } from './recorded-watch.ts';

const quiet = (): void => undefined;

/** `tell` is given each call that was answered: `hold REASON` or `release REASON`. */
export async function holdUntilKilled(
  directory: string,
  round: string,
  tell: (line: string) => void,
): Promise<void> {
  const clock = new SystemClock();
  const store = await SqliteStore.open(directory, { clock });
  const server = new VirtualServer({
    clock,
    log: store,
    store,
    hypervisors: [new FakeHypervisor({ clock })],
    watches: new RecordedWatches(store),
    tickSource: { kind: 'ticker', listen: () => ({ close: quiet, backlogged: () => false }) },
    connectAgent: () => {
      throw new Error('No machine runs.');
    },
    logger: { info: quiet, warn: quiet, error: quiet },
    version: '0.1.0',
    pid: process.pid,
  });
  await server.start();
  if (server.list().length === 0) {
    await server.create({ name: 'web-1' });
    await server.create({ name: 'web-2' });
  }
  const loop = async (vm: string | null): Promise<void> => {
    for (let turn = 0; ; turn += 1) {
      const reason = `${round}-${vm ?? 'all'}-${turn}`;
      // The second replaces the first; every third round leaves one on.
      await server.holds.hold(vm, { seconds: 600, reason });
      tell(`hold ${reason}`);
      await server.holds.hold(vm, { seconds: 600, reason: `${reason}b` });
      tell(`hold ${reason}b`);
      if (turn % 3 === 2) continue;
      await server.holds.release(vm);
      tell(`release ${reason}b`);
    }
  };
  await Promise.all([loop(null), loop('web-1'), loop('web-2')]);
}
