import { isEvent } from '@vmpulse/client';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { RealService } from '../support/real-service.ts';

let service: RealService;
beforeAll(async () => {
  service = await RealService.start();
});
afterEach(() => service.clear());
afterAll(() => service.dispose());

const bounds = { minRunningMs: 0, settleMs: 120_000 } as const;

describe('a guest that is to be recovered', () => {
  test('comes back by a reset after a panic, with its evidence kept', async () => {
    const vm = await service.live('back-panic', { recovery: { ...bounds, action: 'reset' } });
    await service.tell(vm, 'panic');
    const stopped = await service.heard.wait(vm.name, 'heartbeatStopped', 30_000);
    const succeeded = await service.heard.wait(vm.name, 'recoverySucceeded', 180_000);
    expect(succeeded.data).toMatchObject({ stoppedSeq: stopped.seq, step: 'reset', attempts: 1 });
    expect(service.heard.types(vm.name)).toContain('heartbeatResumed');
    const { files } = await service.server.incidents.get(stopped.seq);
    expect(files.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['registers.txt', 'serial.log', 'state.json']),
    );
    const registers = await service.server.incidents.file(stopped.seq, 'registers.txt');
    expect(new TextDecoder().decode(registers)).toContain('RIP');
    const info = await vm.recovery.info();
    expect(info).toMatchObject({ state: 'idle', history: [{ step: 'reset', outcome: 'succeeded' }] });
  });

  test('that hangs is made to panic by an NMI, and then reset, by stages', async () => {
    const staged = { minRunningMs: 0, settleMs: 40_000, action: 'staged', nmi: true } as const;
    const vm = await service.live('back-hang', { recovery: staged });
    await service.tell(vm, 'hang');
    const stopped = await service.heard.wait(vm.name, 'heartbeatStopped', 30_000);
    await service.heard.wait(vm.name, 'recoverySucceeded', 240_000);
    const steps = service.heard.of(vm.name).flatMap((event) => {
      if (!isEvent(event, 'recoveryStep')) return [];
      expect(event.data.stoppedSeq).toBe(stopped.seq);
      return [`${event.data.step} ${event.data.phase}`];
    });
    const expected = ['evidence', 'injectNmi', 'reset'].flatMap((step) => [`${step} begun`, `${step} done`]);
    expect(steps.slice(0, 6)).toEqual(expected);
  });
});
