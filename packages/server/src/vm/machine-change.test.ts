import type { EventDraft } from '@vmpulse/wire';
import { beforeEach, expect, it } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';
import type { MachineEffect } from '../machine-record.ts';

let served: ServedMachines;

beforeEach(async () => {
  served = new ServedMachines();
  await served.server.start();
  await served.create();
});

it('a change of 1,000 values stores the machine once, with the first of its events', async () => {
  const { memory } = served;
  const append = memory.append.bind(memory);
  const effects: (MachineEffect | undefined)[] = [];
  memory.append = (draft: EventDraft, effect?: MachineEffect) => {
    if (draft.type === 'configurationChanged') effects.push(effect);
    return append(draft, effect);
  };
  const values = Object.fromEntries(
    Array.from({ length: 1_000 }, (_, index) => [`k/${index}`, 'x'.repeat(40)]),
  );
  await served.server.change('web-1', { values });
  expect(effects).toHaveLength(1_000);
  expect(effects[0]).toMatchObject({ put: { configuration: { values } } });
  expect(effects.slice(1).every((effect) => effect === undefined)).toBe(true);
  await served.kill().start();
  expect(served.server.get('web-1').values).toEqual(values);
});

it('values are bounded as a whole, in bytes', async () => {
  const { seq } = served;
  const values = Object.fromEntries(
    Array.from({ length: 9 }, (_, index) => [`k${index}`, 'é'.repeat(4_000)]),
  );
  const refused = {
    code: 'VM_E_PREF_ILLEGAL_VALUE',
    field: '/values',
  };
  await expect(served.server.change('web-1', { values })).rejects.toMatchObject(refused);
  expect(served.seq).toBe(seq);
  // Key by key comes to the same.
  const half = Object.fromEntries(Object.entries(values).slice(0, 5));
  await served.server.change('web-1', { values: half });
  await expect(served.server.change('web-1', { values })).rejects.toMatchObject(refused);
  expect(await served.types(seq)).toEqual(Object.keys(half).map(() => 'configurationChanged'));
});
