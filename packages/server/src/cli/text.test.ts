import { assert, jsonValue, property, string } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { clean, formatDuration, shorten, toJson } from './text.ts';

// What would steer a terminal: C0, DEL, C1, bidirectional overrides, separators.
const steering = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

describe('clean', () => {
  it.each([
    ['plain naïve ☃ 漢字', 'plain naïve ☃ 漢字'],
    ['\u001b[2Jgone', '\\u{1b}[2Jgone'],
    ['a\r\nb', 'a\\u{d}\\u{a}b'],
    ['\u009b31m', '\\u{9b}31m'],
    ['abc\u202edcba', 'abc\\u{202e}dcba'],
    ['\ud800', '\\u{d800}'],
  ])('shows %j as %s', (text, shown) => {
    expect(clean(text)).toBe(shown);
  });

  it('leaves nothing that steers a terminal', () => {
    assert(property(string({ unit: 'binary' }), (text) => !steering.test(clean(text))));
  });
});

describe('toJson', () => {
  it('is the same value, in JSON that cannot steer a terminal', () => {
    assert(
      property(jsonValue(), string({ unit: 'binary' }), (value, text) => {
        const json = toJson({ value, text });
        expect(JSON.parse(json)).toEqual(JSON.parse(JSON.stringify({ value, text })));
        expect(json).not.toMatch(steering);
      }),
    );
  });

  it('may be indented', () => {
    expect(toJson({ a: '\u009b' }, 2)).toBe('{\n  "a": "\\u009b"\n}');
  });
});

it('shorten keeps whole characters', () => {
  expect([shorten('abc', 3), shorten('abcd', 3), shorten('😀😀😀', 2)]).toEqual(['abc', 'ab…', '😀…']);
});

it.each([
  [0, '0 ms'],
  [250.4, '250 ms'],
  [1_000, '1 s'],
  [1_540, '1.5 s'],
  [59_949, '59.9 s'],
  [59_960, '1 min'],
  [184_000, '3 min 4 s'],
  [3_600_000, '1 h'],
  [3_661_000, '1 h 1 min'],
  [190_800_000, '2 d 5 h'],
])('formatDuration(%d) is %s', (durationMs, text) => {
  expect(formatDuration(durationMs)).toBe(text);
});
