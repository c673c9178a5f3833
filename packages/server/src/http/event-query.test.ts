import { eventTypeNames } from '@vmpulse/wire';
import { describe, expect, it } from 'vitest';
import { parseEventQuery, wantsEventStream } from './event-query.ts';

describe('the query of the event list', () => {
  it('has defaults', () => {
    expect(parseEventQuery({})).toEqual({ after: undefined, limit: 100, vm: undefined, types: undefined });
  });

  it('takes types with and without prefix, repeated and with commas, each once', () => {
    const type = ['io.vmpulse.heartbeatStopped,stateChanged', 'heartbeatStopped', ' vmCreated '];
    expect(parseEventQuery({ type }).types).toEqual(['heartbeatStopped', 'stateChanged', 'vmCreated']);
    expect(parseEventQuery({ type: eventTypeNames.join(',') }).types).toEqual(eventTypeNames);
  });

  it.each([
    ['heartbeatstopped', 'heartbeatStopped'],
    ['heartbeat-stopped', 'heartbeatStopped'],
    ['io.vmpulse.statechange', 'stateChanged'],
    ['vmcreate', 'vmCreated'],
    ['x'.repeat(10_000), 'vmCreated'],
  ])('says what was meant by a type it does not know', (type, meant) => {
    expect(() => parseEventQuery({ type })).toThrow(
      expect.objectContaining({ code: 'VMPULSE_E_REQUEST_INVALID', field: '/type' }),
    );
    if (type.length < 100) expect(() => parseEventQuery({ type })).toThrow(`did you mean ${meant}?`);
  });

  it.each([
    '-1',
    '1e99',
    '1x',
    '',
    ' 1',
    '1.5',
    '0x10',
    '9007199254740992',
    'NaN',
    '99999999999999999999',
    '١',
  ])('refuses after=%s', (after) => {
    expect(() => parseEventQuery({ after })).toThrow(expect.objectContaining({ field: '/after' }));
  });

  it.each(['0', '9007199254740991'])('takes after=%s', (after) => {
    expect(parseEventQuery({ after }).after).toBe(Number(after));
  });

  it.each(['0', '1001', '-5', '1e2', ''])('refuses limit=%s', (limit) => {
    expect(() => parseEventQuery({ limit })).toThrow('from 1 to 1000');
  });

  it('refuses what is given twice, empty or misspelt', () => {
    expect(() => parseEventQuery({ after: ['1', '2'] })).toThrow('2 times');
    expect(() => parseEventQuery({ vm: '' })).toThrow('vm is empty');
    expect(() => parseEventQuery({ type: '' })).toThrow('no event type ""');
    expect(() => parseEventQuery({ afer: '5' })).toThrow('did you mean after?');
    expect(() => parseEventQuery({ type: Array.from({ length: 65 }, () => 'vmCreated') })).toThrow(
      'more than 64',
    );
  });

  it.each<[string | undefined, boolean]>([
    ['text/event-stream', true],
    ['application/json, Text/Event-Stream;q=0.5', true],
    ['text/event-stream;q=0', false],
    ['*/*', false],
    ['text/*', false],
    ['text/event-streams', false],
    [undefined, false],
  ])('is a stream for Accept: %s? %s', (accept, expected) => {
    expect(wantsEventStream(accept)).toBe(expected);
  });
});
