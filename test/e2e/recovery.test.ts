import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { RealService } from '../support/real-service.ts';

let service: RealService;
beforeAll(async () => {
  service = await RealService.start();
});
afterEach(() => service.clear());
afterAll(() => service.dispose());

const recovery = { action: 'reset', minRunningMs: 0, settleMs: 120_000 } as const;

describe('a guest whose policy is reset', () => {
  test.each(['panic', 'hang'])('comes back by itself after a %s, with its evidence kept', async (fault) => {
    const vm = await service.live(`back-${fault}`, { recovery });
    await service.tell(vm, fault);
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
});
