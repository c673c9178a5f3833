import { expect, it } from 'vitest';
import { RecoveredMachines } from '../../../../test/support/recovered-machines.ts';

// The guests are still to be shut down.
it.each(['full', 'slow'])('the end of recovery waits for no disk that is %s', async (disk) => {
  const served = new RecoveredMachines();
  await served.serve();
  await served.see();
  await served.running({ action: 'reset' });
  if (disk === 'full') served.memory.failWrites('the disk is full');
  else served.stallWrites();
  const closing = served.recovery.close();
  await served.clock.advanceAsync(80_000);
  await served.settleAll();
  expect(await Promise.race([closing.then(() => 'closed'), served.settleAll()])).toBe('closed');
});
