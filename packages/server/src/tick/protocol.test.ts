import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TickerParser, type TickerHandler } from './protocol.ts';

type Heard =
  | { hello: Parameters<TickerHandler['onHello']>[0] }
  | { tick: readonly [number, number] }
  | { bye: string };

interface Listening {
  readonly parser: TickerParser;
  readonly heard: Heard[];
  rejected(): number;
}

function listening(): Listening {
  const heard: Heard[] = [];
  let rejected = 0;
  const parser = new TickerParser({
    onHello: (hello) => heard.push({ hello }),
    onTick: (seq, uptimeMs) => heard.push({ tick: [seq, uptimeMs] }),
    onBye: (bye) => heard.push({ bye }),
    onRejected: (bytes) => {
      rejected += bytes;
    },
  });
  return { parser, heard, rejected: () => rejected };
}

function hear(...chunks: readonly (string | Uint8Array)[]): { heard: Heard[]; rejected: number } {
  const port = listening();
  for (const chunk of chunks) port.parser.feed(Buffer.from(chunk as string, 'latin1'));
  return { heard: port.heard, rejected: port.rejected() };
}

const hello = (line: string): unknown => hear(`${line}\n`).heard[0];
const nothing = { version: null, intervalMs: null, os: null, host: null };

describe('ticks', () => {
  it('are heard with their two numbers', () => {
    expect(hear('tick 0 0\ntick 17 123456\n')).toEqual({
      heard: [{ tick: [0, 0] }, { tick: [17, 123456] }],
      rejected: 0,
    });
  });

  it('may have numbers up to the largest safe integer and no larger', () => {
    expect(hear(`tick ${2 ** 53 - 1} ${2 ** 53 - 1}\n`).heard).toEqual([
      { tick: [2 ** 53 - 1, 2 ** 53 - 1] },
    ]);
    for (const large of ['9007199254740992', '9007199254740993', '9'.repeat(400)]) {
      expect(hear(`tick ${large} 1\n`).heard).toEqual([]);
      expect(hear(`tick 1 ${large}\n`)).toEqual({ heard: [], rejected: `tick 1 ${large}\n`.length });
    }
  });

  it('may be followed by words of a later protocol', () => {
    expect(hear('tick 1 2 load=0.5 x=\n').heard).toEqual([{ tick: [1, 2] }]);
  });

  const malformed = [
    '',
    'tick',
    'tick ',
    'tick 1',
    'tick 1 ',
    'tick  1 2',
    'tick 1  2',
    ' tick 1 2',
    'xtick 1 2',
    'Tick 1 2',
    'ticks 1 2',
    'tick -1 2',
    'tick 1 -2',
    'tick +1 2',
    'tick 1.5 2',
    'tick 1e3 2',
    'tick 0x1 2',
    'tick 1 2\r',
    'tick 1 2 ',
    'tick 1 2 3',
    'tick 1 2 =3',
    'tick 1 2 a=b  c=d',
    'tick 1 2x',
    'tick 1 2 a=\x7f',
    'tick 1 2 a=\xe9',
    'tick\t1 2',
    '\0tick 1 2',
    '\xff\xfetick 1 2',
  ];
  it.each(malformed)('are not what is in %j', (line) => {
    expect(hear(`${line}\n`)).toEqual({ heard: [], rejected: line.length + 1 });
  });
});

describe('hellos', () => {
  it('tell of the ticker, with their values decoded', () => {
    const line = 'hello v=1 version=1.0.0 interval_ms=1000 os=Debian%20GNU%2FLinux%2012 host=web-1';
    const expected = {
      protocol: 1,
      version: '1.0.0',
      intervalMs: 1000,
      os: 'Debian GNU/Linux 12',
      host: 'web-1',
    };
    expect(hello(line)).toEqual({ hello: expected });
  });

  it('are decoded as UTF-8', () => {
    expect(hello('hello v=1 host=b%C3%BCro')).toEqual({ hello: { ...nothing, protocol: 1, host: 'büro' } });
  });

  it('of a later version are heard, so that its ticks count', () => {
    expect(hello('hello v=2 zone=eu')).toEqual({ hello: { ...nothing, protocol: 2 } });
  });

  it('ignore unknown keys and take the first of two', () => {
    const line = 'hello color=red v=1 host=a host=b v=7';
    expect(hello(line)).toEqual({ hello: { ...nothing, protocol: 1, host: 'a' } });
  });

  it.each(['%', '%2', '%zz', '%C3', '%ED%A0%80', '%00', '%0A', '%1B[2J', '%7F', '%C2%85', '%E2%80%AE', ''])(
    'lose the value %j and nothing else',
    (value) => {
      expect(hello(`hello v=1 os=${value} host=a`)).toEqual({
        hello: { ...nothing, protocol: 1, host: 'a' },
      });
    },
  );

  it('lose a value longer than 256', () => {
    expect(hello(`hello v=1 os=${'x'.repeat(256)}`)).toEqual({
      hello: { ...nothing, protocol: 1, os: 'x'.repeat(256) },
    });
    expect(hello(`hello v=1 os=${'x'.repeat(257)}`)).toEqual({ hello: { ...nothing, protocol: 1 } });
  });

  it.each([
    ['99', null],
    ['100', 100],
    ['60000', 60_000],
    ['60001', null],
    ['-1000', null],
    ['1e3', null],
    ['1000.5', null],
    ['', null],
  ])('with interval_ms=%s have the interval %s', (value, intervalMs) => {
    expect(hello(`hello v=1 interval_ms=${value}`)).toEqual({
      hello: { ...nothing, protocol: 1, intervalMs },
    });
  });

  it.each([
    'hello',
    'hello ',
    'hello version=1',
    'hello v=0',
    'hello v=',
    'hello v=x',
    'hello v=1 junk',
    'hello v=1  os=a',
    'hello v=1 =a',
    'hello v=1 os=b\xfcro',
    'hellos v=1',
  ])('are not what is in %j', (line) => {
    expect(hear(`${line}\n`)).toEqual({ heard: [], rejected: line.length + 1 });
  });
});

describe('byes', () => {
  it.each(['shutdown', 'reboot', 'stop'])('tell that the ticker ends in order: %s', (reason) => {
    expect(hear(`bye ${reason}\n`)).toEqual({ heard: [{ bye: reason }], rejected: 0 });
  });

  it.each(['bye', 'bye ', 'bye bye', 'bye stop ', 'bye stopped', 'bye  stop', 'goodbye stop'])(
    'are not what is in %j',
    (line) => {
      expect(hear(`${line}\n`)).toEqual({ heard: [], rejected: line.length + 1 });
    },
  );
});

describe('lines', () => {
  const padded = (bytes: number): string => `tick 1 2 x=${'y'.repeat(bytes - 'tick 1 2 x=\n'.length)}\n`;

  it('of 512 bytes are heard and those of 513 are not, however they come', () => {
    const greeting = (bytes: number): string =>
      `hello v=1 x=${'y'.repeat(bytes - 'hello v=1 x=\n'.length)}\n`;
    for (const cut of [0, 1, 5, 100, 511, 512]) {
      const [fits, long] = [padded(512), padded(513)];
      const [fitting, longer] = [greeting(512), greeting(513)];
      expect(hear(fitting.slice(0, cut), fitting.slice(cut)).heard).toHaveLength(1);
      expect(hear(longer.slice(0, cut), longer.slice(cut))).toEqual({ heard: [], rejected: 513 });
      expect(hear(fits.slice(0, cut), fits.slice(cut))).toEqual({ heard: [{ tick: [1, 2] }], rejected: 0 });
      expect(hear(long.slice(0, cut), long.slice(cut))).toEqual({ heard: [], rejected: 513 });
    }
  });

  it('are not begun in the middle of one that is too long, wherever it was cut', () => {
    expect(hear('x'.repeat(600), 'tick 1 2\n', 'tick 3 4\n')).toEqual({
      heard: [{ tick: [3, 4] }],
      rejected: 609,
    });
    expect(hear('x', 'tick 1 2\n')).toEqual({ heard: [], rejected: 10 });
  });

  it('that end with the connection are dropped and not joined to what the next one brings', () => {
    const port = listening();
    port.parser.feed(Buffer.from('tick 1 2'));
    port.parser.reset();
    port.parser.feed(Buffer.from('3\ntick 2 3000\n'));
    expect(port.heard).toEqual([{ tick: [2, 3000] }]);
    expect(port.rejected()).toBe(10);
  });

  it('are told as rejected while they are still coming, once for each read', () => {
    let calls = 0;
    const ignore = (): void => undefined;
    const onRejected = (): void => {
      calls += 1;
    };
    const parser = new TickerParser({ onHello: ignore, onTick: ignore, onBye: ignore, onRejected });
    for (let i = 0; i < 3; i++) parser.feed(Buffer.alloc(65_536, i === 1 ? '\n' : 'x'));
    expect(calls).toBe(3);
  });

  it('do not reach into what a longer buffer holds behind the length given', () => {
    const port = listening();
    port.parser.feed(Buffer.from('tick 1 2\ntick 3 4\n'), 8);
    expect(port.heard).toEqual([]);
    port.parser.feed(Buffer.from('0\ntick 3 4\n'), 2);
    expect(port.heard).toEqual([{ tick: [1, 20] }]);
  });
});

const validLine = fc.oneof(
  fc.tuple(fc.maxSafeNat(), fc.maxSafeNat()).map(([seq, uptime]) => `tick ${seq} ${uptime}\n`),
  fc.constantFrom('bye stop\n', 'hello v=1 host=a%20b\n', 'hello v=1 interval_ms=500\n', 'tick 1 2 a=b\n'),
);
const junk = fc.oneof(
  fc.string({ unit: 'binary-ascii', maxLength: 30 }),
  fc.constantFrom(
    '\n',
    'tick ',
    'tick 1 ',
    'hello ',
    'hello v=1',
    ' ',
    '5',
    '\xff',
    'x'.repeat(511),
    'y'.repeat(600),
  ),
);
const stream = fc.array(fc.oneof(validLine, junk), { maxLength: 40 }).map((parts) => parts.join(''));

describe('whatever a guest sends', () => {
  it('is heard the same however it is cut into chunks, and every byte is heard or counted', () => {
    fc.assert(
      fc.property(
        stream,
        fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 30 }),
        (text, sizes) => {
          const bytes = Buffer.from(`${text}\n`, 'latin1');
          const whole = listening();
          whole.parser.feed(bytes);
          const cut = listening();
          for (let at = 0, turn = 0; at < bytes.length; turn++) {
            const size = sizes[turn % sizes.length] ?? 1;
            // Like a socket's buffer: used again for the next read.
            const shared = Buffer.from(bytes.subarray(at, at + size));
            cut.parser.feed(shared);
            expect(cut.parser.retainedBytes).toBeLessThanOrEqual(512);
            shared.fill('\n');
            at += size;
          }
          expect(cut.heard).toEqual(whole.heard);
          expect(cut.rejected()).toBe(whole.rejected());
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('never throws, and no more than 512 bytes of it are retained', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 800 }), { maxLength: 10 }), (chunks) => {
        const port = listening();
        for (const chunk of chunks) {
          port.parser.feed(chunk);
          expect(port.parser.retainedBytes).toBeLessThanOrEqual(512);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('does not keep a valid line behind it from being heard', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1500 }), validLine, (garbage, line) => {
        const alone = hear(line).heard;
        const port = listening();
        port.parser.feed(garbage);
        port.parser.feed(Buffer.from('\n'));
        port.heard.length = 0;
        port.parser.feed(Buffer.from(line));
        expect(port.heard).toEqual(alone);
        expect(alone).toHaveLength(1);
      }),
      { numRuns: 2_000 },
    );
  });
});
