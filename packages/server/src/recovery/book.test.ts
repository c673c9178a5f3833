import { expect, it } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';
import { RecoveryBook } from './book.ts';
import { emptyRecord, fold } from './record.ts';

it('stores with each place what events up to there made of every machine', async () => {
  const { clock, memory: log, documents: store } = new ServedMachines();
  const book = new RecoveryBook({ clock, log, store });
  await book.load();
  const [quiet, other] = ['a', 'b'].map((name) => emptyRecord({ id: name.repeat(8), name }));
  if (quiet === undefined || other === undefined) throw new Error('two records');
  // Read from the log, and not yet a reason to tell anything.
  const draft = { type: 'stateChanged', vm: quiet.vm, timeMs: clock.wallMs(), data: { state: 'running' } };
  const event = await log.append(draft as never);
  book.set(fold({ ...quiet, gaveUp: null }, event, { atMs: 1, runningSinceMs: null }).record);
  book.place = event.seq;
  const gaveUp = { stoppedSeq: 1, reason: 'attempts', attempts: 1, detail: 'no' } as const;
  await book.tell(other, 'recoveryGaveUp', gaveUp);
  const next = new RecoveryBook({ clock, log, store });
  await next.load();
  expect(next.place).toBe(event.seq);
  expect(next.records.get(quiet.vm.id)?.seq).toBe(event.seq);
});
