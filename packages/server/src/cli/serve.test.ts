import { EventEmitter } from 'node:events';
import { VmError } from '@vmpulse/wire';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import type { Service } from '../main.ts';
import { Ending, parseListen, serviceOptions } from './serve.ts';

const logger = pino({ level: 'silent' });

describe('the address to listen on', () => {
  test.each([
    ['127.0.0.1:7410', '127.0.0.1', 7410],
    ['localhost:0', 'localhost', 0],
    ['[::1]:65535', '::1', 65_535],
  ])('%s is a host and a port', (text, host, port) => {
    expect(parseListen(text)).toEqual({ host, port });
  });

  test.each(['7410', ':7410', 'host', 'host:', 'host:x', 'host:70000', '::1:7410', 'a b:1', 'host:1:2'])(
    '%s is refused with what to write',
    (text) => {
      expect(() => parseListen(text)).toThrow(/HOST:PORT/u);
    },
  );
});

describe('the options of serve', () => {
  test('take a certificate only with its key', () => {
    const flags = { data: '/d', listen: '0.0.0.0:1', logLevel: 'info' };
    expect(() => serviceOptions({ ...flags, tlsCert: 'c' }, logger)).toThrow(VmError);
    expect(() => serviceOptions({ ...flags, tlsKey: 'k' }, logger)).toThrow(VmError);
    const both = serviceOptions({ ...flags, tlsCert: 'c', tlsKey: 'k' }, logger);
    expect(both.tls).toEqual({ certFile: 'c', keyFile: 'k' });
  });

  test('take bounds of disk space in megabytes, the warning no lower than the error', () => {
    const flags = { data: '/d', listen: '127.0.0.1:0', logLevel: 'info' };
    const mb = 1024 ** 2;
    const given = (warning?: string, error?: string): unknown =>
      serviceOptions(
        {
          ...flags,
          ...(warning === undefined ? {} : { diskSpaceWarningMb: warning }),
          ...(error === undefined ? {} : { diskSpaceErrorMb: error }),
        },
        logger,
      ).diskSpace;
    expect(given()).toBeUndefined();
    expect(given('200')).toEqual({ warningBytes: 200 * mb, errorBytes: 20 * mb });
    expect(given('0', '0')).toEqual({ warningBytes: 0, errorBytes: 0 });
    expect(() => given('10')).toThrow(/--disk-space-warning-mb/u);
    for (const odd of ['', '-1', '1.5', '1e3', 'all']) expect(() => given(odd)).toThrow(VmError);
  });

  test('make the data directory absolute', () => {
    const options = serviceOptions({ data: 'relative', listen: '127.0.0.1:0', logLevel: 'info' }, logger);
    expect(options.directory).toBe(`${process.cwd()}/relative`);
  });
});

test('a signal ends in order, another at once, and the same handed on by a parent is no other', async () => {
  const clock = new SimulatedClock();
  const source = new EventEmitter();
  const exits: number[] = [];
  const ending = new Ending(logger, clock, source, (code) => exits.push(code));
  const stops: string[] = [];
  source.emit('SIGINT');
  const service = {
    stop: (reason: string) => Promise.resolve(void stops.push(reason)),
  } as unknown as Service;
  expect(await ending.of(service)).toBe(130);
  clock.advance(900);
  source.emit('SIGINT');
  expect([stops, exits]).toEqual([['SIGINT'], []]);
  clock.advance(100);
  source.emit('SIGTERM');
  expect(exits).toEqual([1]);
});
