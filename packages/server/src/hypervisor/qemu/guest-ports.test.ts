import { describe, expect, test } from 'vitest';
import { guestPortsOf } from './guest-ports.ts';

const device = (label: string, open: unknown): object => ({
  label,
  filename: 'unix:/vm/heartbeat.sock,server=on',
  'frontend-open': open,
});

describe('the ports a guest holds open', () => {
  test('are those whose frontend is', () => {
    const answer = [device('qmp', true), device('agent', true), device('heartbeat', false)];
    expect(guestPortsOf(answer)).toEqual({ heartbeat: false, agent: true });
  });

  test.each([
    ['no list', {}],
    ['without one of them', [device('agent', true)]],
    ['with nonsense in it', [device('agent', true), device('heartbeat', 'yes'), 7, null]],
  ])('are not known from an answer that is %s', (_name, answer) => {
    expect(guestPortsOf(answer)).toBeUndefined();
  });
});
