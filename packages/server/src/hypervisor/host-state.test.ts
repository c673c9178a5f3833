import { describe, expect, test } from 'vitest';
import { describeHost, loadTrouble } from './host-state.ts';

describe('the state of the host', () => {
  test('is load and pressure', () => {
    const files: Record<string, string> = {
      '/proc/loadavg': '8.21 4.00 2.00 3/400 1234\n',
      '/proc/pressure/cpu': 'some avg10=40.12 avg60=1.00 avg300=0.10 total=1\n',
      '/proc/pressure/memory': 'some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00\n',
    };
    expect(describeHost((path) => files[path] ?? null, 2)).toBe(
      'load 8.21 on 2 processors, waiting for cpu 40.12 %, memory 0.00 % of the last 10 s',
    );
  });

  test('of a kernel that tells neither says so', () => {
    expect(describeHost(() => null, 4)).toBe('load not known on 4 processors');
  });

  test('of this host can be read', () => {
    expect(describeHost()).toMatch(/^load \d+\.\d+ on \d+ processors/u);
  });
});

test('the host is told as not well above a load for each processor', () => {
  const load = (text: string | null) => () => text;
  expect(loadTrouble(4, load('8.00 1 1'), 2)).toBeNull();
  expect(loadTrouble(4, load('8.10 1 1'), 2)).toContain('load 8.10 on 2 processors');
  expect(loadTrouble(4, load(null), 2)).toBeNull();
});
