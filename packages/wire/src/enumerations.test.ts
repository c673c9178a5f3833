import { expect, it } from 'vitest';
import facts from '../../../test/fixtures/virtual-server-api.json' with { type: 'json' };
import * as enumerations from './enumerations.ts';

it('there are the 25 enumerations of the original and no other', () => {
  expect(Object.keys(enumerations).toSorted()).toEqual(Object.keys(facts.enumerations).toSorted());
  expect(Object.keys(enumerations)).toHaveLength(25);
});

it.each(Object.entries(facts.enumerations))(
  '%s has the names and values of the original, in its order',
  (name, values) => {
    const ours = (enumerations as Record<string, Record<string, number>>)[name] ?? {};
    expect(Object.entries(ours)).toEqual(Object.entries(values));
  },
);
