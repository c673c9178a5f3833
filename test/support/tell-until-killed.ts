/** The real store and a webhook on it that is told events as they are appended, until the process is killed. */
import { SystemClock } from '../../packages/server/src/clock.ts';
import { Webhooks } from '../../packages/server/src/delivery/webhooks.ts';
import { SqliteStore } from '../../packages/server/src/store/sqlite-store.ts';

/** `tell` is given the seq of each event that is durable. */
export async function tellUntilKilled(
  directory: string,
  url: string,
  tell: (seq: number) => void,
): Promise<void> {
  const clock = new SystemClock();
  const store = await SqliteStore.open(directory, { clock });
  const webhooks = await Webhooks.open({ clock, log: store, store, version: '1', warn: () => undefined });
  webhooks.start();
  if (webhooks.list().length === 0) await webhooks.create({ name: 'pager', url });
  for (;;) {
    const data = { messageId: 2, reason: 'test' };
    tell((await store.append({ type: 'serviceStopped', timeMs: clock.wallMs(), data })).seq);
    await clock.sleep(1);
  }
}
