/** A short campaign: one round of each kind that no other test here covers. `npm run campaign` plays all, long. */
import { beforeAll, describe, expect, test } from 'vitest';
import { allKinds, runCampaign } from './campaign/campaign.ts';
import type { Result } from './campaign/judgement.ts';

/** Covered by stops.test.ts, service.test.ts, guest.test.ts and qemu-guest.test.ts. */
const covered: readonly string[] = [
  'panic',
  'panic-nmi',
  'killed',
  'killed-unseen',
  'hang',
  'hang-returns',
  'spin',
  'poweroff',
  'shutdown',
  'reboot',
  'reset',
  'turn-off',
  'pause',
  'save',
  'flood',
  'service-stopped',
  'service-killed',
  'service-restarted',
  'agent-hang',
  'ticker-killed',
  'triple-fault',
  'slept',
];

/** Left to the long campaign: what takes long, or most of the host's processors, is no matter for every test run. */
const long: readonly string[] = [
  'watchdog-none',
  'busy',
  'boot-bare',
  'load',
  'memory-short',
  'spin-short',
  'panic-no-device',
  'hang-warm',
  'hang-fast',
  'busy-short',
  'boot-slow',
  'boot-endless',
  'starved',
  'group-frozen',
  'throttled',
  'vcpus-throttled',
  'host-busy',
  'reboot-forced',
  'ticker-ended',
  'ticker-restarted',
  'clock-back',
  'poweroff-forced',
  'agent-frozen',
  'qemu-stopped-short',
];

const kinds = allKinds.filter(({ name }) => !covered.includes(name) && !long.includes(name));

describe('a short campaign', () => {
  const results: Result[] = [];
  beforeAll(async () => {
    await runCampaign({ kinds, rounds: 1, parallel: 3, onResult: (result) => results.push(result) });
  }, 900_000);

  test.for(kinds.map(({ name, what }) => [name, what] as const))('%s: %s', ([name]) => {
    const result = results.find(({ kind }) => kind === name);
    // A delay says something of a quiet host only: the long campaign judges it.
    expect(['right', 'late'], `${result?.reason} ${JSON.stringify(result?.event)}`).toContain(
      result?.outcome,
    );
  });
});
