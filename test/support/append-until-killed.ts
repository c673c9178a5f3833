/**
 * Run as a process of its own: appends events as fast as it can and tells on stdout, one line each, what it was told is
 * durable, until it is killed. Arguments: `writer` (the writer alone), `store` (all of it), `holds` (a server that
 * holds machines, see hold-until-killed.ts) or `subscription` (see consume-until-killed.ts), directory, round.
 * holds machines, see hold-until-killed.ts) or `webhooks` (see tell-until-killed.ts), directory, round (of webhooks:
 * the URL).
 */
import { writeSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { join } from 'node:path';

// From the sources, so that no build is needed.
const wire = new URL('../../packages/wire/src/index.ts', import.meta.url).href;
registerHooks({
  resolve: (specifier, context, next) => next(specifier === '@vmpulse/wire' ? wire : specifier, context),
});

const [, , mode, directory = '', round = ''] = process.argv;

/** One line, whole: a pipe takes less than 4 KiB at once or not at all, and not at all while its reader is behind. */
function tell(seq: number | string, tag: string): void {
  for (;;) {
    try {
      writeSync(1, `${seq} ${tag}\n`);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
}

async function runWriter(): Promise<void> {
  const { Writer } = await import('../../packages/server/src/store/writer.ts');
  const writer = new Writer(join(directory, 'vmpulse.db'));
  for (let batch = 0; ; batch += 1) {
    const tags = Array.from({ length: 1 + (batch % 7) }, (_, index) => `${round}-${batch}-${index}`);
    const items = tags.map((tag) => ({
      event: {
        type: 'serviceStopped',
        vmId: null,
        vmName: null,
        timeMs: 0,
        data: JSON.stringify({ reason: tag }),
      },
      effects: [{ op: 'value' as const, key: 'last', value: tag }],
    }));
    const { firstSeq } = writer.write({ items, afterSeq: null });
    for (const [index, tag] of tags.entries()) tell(firstSeq + index, tag);
  }
}

async function runStore(): Promise<void> {
  const { SqliteStore } = await import('../../packages/server/src/store/sqlite-store.ts');
  const { SystemClock } = await import('../../packages/server/src/clock.ts');
  const store = await SqliteStore.open(directory, { clock: new SystemClock() });
  const loop = async (lane: number): Promise<void> => {
    for (let n = 0; ; n += 1) {
      const reason = `${round}-${lane}-${n}`;
      const event = await store.append({
        type: 'serviceStopped',
        timeMs: Date.now(),
        data: { messageId: 2, reason },
      });
      tell(event.seq, reason);
    }
  };
  await Promise.all([0, 1, 2, 3, 4].map(loop));
}

async function runHolds(): Promise<void> {
  const { holdUntilKilled } = await import('./hold-until-killed.ts');
  await holdUntilKilled(directory, round, (line) => tell('told', line));
}

async function runSubscription(): Promise<void> {
  const { consumeUntilKilled } = await import('./consume-until-killed.ts');
  await consumeUntilKilled(directory, tell);
}

async function runWebhooks(): Promise<void> {
  const { tellUntilKilled } = await import('./tell-until-killed.ts');
  await tellUntilKilled(directory, round, (seq) => tell(seq, 'durable'));
}

const modes = {
  store: runStore,
  writer: runWriter,
  holds: runHolds,
  subscription: runSubscription,
  webhooks: runWebhooks,
};
await modes[mode as keyof typeof modes]();
