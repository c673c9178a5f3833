/** Durable subscriptions over the real store, with a consumer that acknowledges what comes, until it is killed. */
import { SystemClock } from '../../packages/server/src/clock.ts';
import { Subscriptions } from '../../packages/server/src/delivery/subscriptions.ts';
import { SqliteStore } from '../../packages/server/src/store/sqlite-store.ts';

/** Tells each event as `delivered` before it is acknowledged, or refused for good, and once its cursor as `moved`. */
export async function consumeUntilKilled(
  directory: string,
  tell: (seq: number, tag: string) => void,
): Promise<void> {
  const clock = new SystemClock();
  const store = await SqliteStore.open(directory, { clock });
  const warn = (message: string): never => {
    throw new Error(message);
  };
  const subscriptions = new Subscriptions({ clock, log: store, store, warn });
  await subscriptions.load();
  const request = { from: 1, types: ['serviceStopped' as const], maxAttempts: 1 };
  if (subscriptions.counts().length === 0) await subscriptions.put('pager', request);
  const pager = subscriptions.find('pager');
  const storedCursor = async (): Promise<number> => {
    const [document] = await store.loadDocuments('subscription');
    return (document?.value as { cursor: number } | undefined)?.cursor ?? 0;
  };
  const tellOnceMoved = async (): Promise<void> => {
    const before = await storedCursor();
    let now = before;
    while (now <= before) {
      await clock.sleep(5);
      now = await storedCursor();
    }
    tell(now, 'moved');
  };
  void tellOnceMoved();
  let held = '';
  const answer = async (seq: number): Promise<void> => {
    // In flight for a while, so that what was sent is well ahead of what was told.
    await clock.sleep(50);
    tell(seq, 'delivered');
    try {
      // Every tenth is not taken, and becomes a dead letter at once.
      if (seq % 10 === 0) pager.refuse({ seq, lease: held, reason: 'no one there' });
      else await pager.acknowledge({ seq, lease: held });
    } catch {
      // It was to be sent again meanwhile.
    }
  };
  pager.connect({
    served: ({ lease }) => {
      held = lease;
    },
    deliver: ({ seq }) => void answer(seq),
    rewind: () => undefined,
    lostPlace: () => undefined,
    end: () => undefined,
  });
  const data = { messageId: 2, reason: '' };
  for (;;) await store.append({ type: 'serviceStopped', timeMs: clock.wallMs(), data });
}
