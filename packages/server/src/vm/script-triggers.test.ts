import {
  type ScriptTrigger,
  VMEventType,
  findScriptTrigger,
  scriptTriggersOf,
  toCloudEvent,
} from '@vmpulse/wire';
import { expect, it } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';

it('a save is one event of the original, as are a start, a restore and a turn-off', async () => {
  const served = new ServedMachines();
  const vm = await served.create();
  const triggered = async (operation: 'startup' | 'save' | 'turnOff' | 'reset'): Promise<ScriptTrigger[]> => {
    const { seq } = served;
    await served.run(vm, operation);
    const found = (await served.events(seq)).flatMap(scriptTriggersOf);
    return found.filter((trigger) => trigger.startsWith('vm'));
  };
  expect(await triggered('startup')).toEqual(['vmLaunched']);
  expect(await triggered('save')).toEqual(['vmStateSaved', 'vmTurnedOff']);
  expect(await triggered('startup')).toEqual(['vmStateRestored']);
  expect(await triggered('turnOff')).toEqual(['vmTurnedOff']);
});

it('a start from a saved state that came to nothing is no save, though the machine rests as saved', () => {
  const data = { state: 'turnedOff', stateCode: 1, previousState: 'restoring', saved: true } as const;
  const event = toCloudEvent({ type: 'stateChanged', timeMs: 0, data }, 1, 'server');
  expect(scriptTriggersOf(event)).toEqual(['stateChanged', 'vmTurnedOff']);
});

it('every event type of the original can be attached to, but for those of disk space', () => {
  const { vmEvent_VirtualMachineHostDiskSpaceWarning: warning, ...others } = VMEventType;
  for (const [name, number] of Object.entries(others)) {
    if (number > warning) continue;
    expect([name, findScriptTrigger(number)]).toEqual([name, expect.any(String)]);
  }
  expect(findScriptTrigger(4)).toBe('vmStateSaved');
});
