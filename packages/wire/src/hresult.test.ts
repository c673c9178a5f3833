import { describe, expect, it } from 'vitest';
import facts from '../../../test/fixtures/virtual-server-api.json' with { type: 'json' };
import { hresultName } from './error.ts';
import {
  HResult,
  commonResults,
  formatHResult,
  ownResults,
  succeeded,
  virtualServerResults,
} from './hresult.ts';

describe('result codes', () => {
  it('are the 70 of the original, with its values', () => {
    const ours = Object.entries(virtualServerResults).map(([name, value]) => [name, formatHResult(value)]);
    expect(ours).toEqual(Object.entries(facts.hresults));
    expect(ours).toHaveLength(70);
  });

  it('include what the original says that members of the event, guest and task interfaces return', () => {
    const { IVMGuestOS, IVMTask, IVMTask2 } = facts.interfaces;
    for (const { methods, properties } of [IVMGuestOS, IVMTask, IVMTask2]) {
      const members: { results?: string[] }[] = [...Object.values(methods), ...Object.values(properties)];
      for (const name of members.flatMap((member) => member.results ?? []))
        expect(HResult).toHaveProperty(name);
    }
  });

  it('differ from one another, and ours from all that the original used', () => {
    const all = Object.values(HResult);
    expect(new Set(all).size).toBe(all.length);
    const originals = Object.values(virtualServerResults).map((value) => value & 0xffff);
    for (const value of Object.values(ownResults)) {
      expect((value & 0xffff) >= 0x1000 && value >>> 16 === 0xa004).toBe(true);
      expect(Math.max(...originals)).toBeLessThan(value & 0xffff);
    }
  });

  it('say success by their top bit, as unsigned or signed numbers', () => {
    const successes = Object.entries(HResult).filter(([, value]) => succeeded(value));
    expect(successes.map(([name]) => name)).toEqual(['S_OK', 'S_FALSE']);
    expect(succeeded(HResult.E_FAIL | 0)).toBe(false);
  });

  it('have a name and a way to be written', () => {
    for (const [name, value] of Object.entries({
      ...virtualServerResults,
      ...commonResults,
      ...ownResults,
    })) {
      expect([hresultName(value), hresultName(value | 0)]).toEqual([name, name]);
    }
    expect(formatHResult(0)).toBe('0x00000000');
    expect(formatHResult(-2147467259)).toBe('0x80004005');
    expect(hresultName(0x12345678)).toBe('0x12345678');
  });
});
