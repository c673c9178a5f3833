import { describe, expect, it } from 'vitest';
import { AgentFrames } from './agent-frame.ts';

interface Framing {
  readonly lines: (readonly [string, boolean])[];
  tooLong: number;
  feed(text: string): void;
}

function framing(boundBytes: number): Framing {
  const shared = Buffer.alloc(1_000);
  const result: Framing = { lines: [], tooLong: 0, feed };
  const frames = new AgentFrames({
    bound: () => boundBytes,
    line: (text, delimited) => result.lines.push([text, delimited]),
    tooLong: () => {
      result.tooLong += 1;
    },
  });
  /** Like a socket's buffer: used again for every read. */
  function feed(text: string): void {
    shared.fill('?');
    frames.feed(shared, shared.write(text, 'latin1'));
  }
  return result;
}

describe('an agent\u2019s lines', () => {
  it('are put together from the reads they come in', () => {
    const frames = framing(100);
    for (const text of ['{"ret', 'urn"', ':1}\n{}\n\n', '[]', '\n']) frames.feed(text);
    expect(frames.lines).toEqual([
      ['{"return":1}', false],
      ['{}', false],
      ['', false],
      ['[]', false],
    ]);
  });

  it('begin anew at the delimiter, wherever it comes', () => {
    const frames = framing(100);
    for (const text of ['stale', '\xffa\xffb', 'c\nd\n', '\xff', '\xffe\n']) frames.feed(text);
    expect(frames.lines).toEqual([
      ['bc', true],
      ['d', false],
      ['e', true],
    ]);
  });

  it('longer than the bound are told once and skipped to their end, or to the delimiter', () => {
    const frames = framing(10);
    for (const text of ['12345', '678901', '23456', '7\n1234567890\n', '12345678901', '2\xffend\n'])
      frames.feed(text);
    expect(frames.lines).toEqual([
      ['1234567890', false],
      ['end', true],
    ]);
    expect(frames.tooLong).toBe(2);
  });
});
