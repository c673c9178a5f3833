import { describe, expect, it } from 'vitest';
import { eventTypeNames } from './event.ts';
import { vmEventSchema } from './event-schema.ts';
import { schemas, stopCauseNames, vmChangeSchema, vmCreationSchema, vmInfoSchema } from './schema.ts';

describe('the schemas', () => {
  it('have names of their own and refer to each other only', () => {
    const names = schemas.map(({ $id }) => $id);
    expect(new Set(names).size).toBe(names.length);
    const references = [...JSON.stringify(schemas).matchAll(/"\$ref":"([^"]+)#"/g)].map(([, name]) => name);
    expect(references.length).toBeGreaterThan(10);
    for (const name of references) expect(names).toContain(name);
  });

  it('describe every type of event', () => {
    const variants = vmEventSchema['oneOf'] as { title: string }[];
    expect(variants.map(({ title }) => title)).toEqual(eventTypeNames);
    expect(JSON.stringify(variants)).toContain(JSON.stringify(stopCauseNames));
  });

  it('require of a request what nothing else can be made up for', () => {
    expect(vmCreationSchema['required']).toEqual(['name']);
    expect(vmChangeSchema['required']).toEqual([]);
    expect((vmInfoSchema['required'] as string[]).length).toBe(
      Object.keys(vmInfoSchema['properties'] as object).length,
    );
  });

  it('can be sent as they are', () => {
    expect(JSON.parse(JSON.stringify(schemas))).toEqual(schemas);
  });
});
