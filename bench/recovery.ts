/**
 * How long the recovery of a real guest takes, by stage: `npm run build`, the guest image as docs/benchmarks.md says,
 * then `node bench/recovery.ts [ROUNDS] [KIND]` (10; `hang`, `panic`, default both). One guest whose policy is `reset`
 * is made to hang or panic, and comes back by itself; the stages are the times of the events that told them.
 */
import type { VirtualMachine } from '@vmpulse/client';
import { type VmEvent, eventTypeOf } from '@vmpulse/wire';
import { RealService } from '../test/support/real-service.ts';
import { quantile, sayWhere } from './figures.ts';

type Fault = 'hang' | 'panic';

/** In the order they happen; each from the end of the one before, ms. */
const stages = [
  'last tick -> stop told',
  'stop told -> recovery planned',
  'evidence: begun -> done',
  'evidence done -> reset begun',
  'reset: begun -> done',
  'reset done -> first tick',
  'last tick -> heartbeat back',
] as const;

type Round = Record<(typeof stages)[number], number>;

/** Since the stop, in order. */
function stagesOf(events: readonly VmEvent[]): Round {
  const time = (type: string, matches: Record<string, unknown> = {}): number => {
    const found = events.find(
      (event) =>
        eventTypeOf(event) === type &&
        Object.entries(matches).every(
          ([key, value]) => (event.data as Record<string, unknown>)[key] === value,
        ),
    );
    return found === undefined ? Number.NaN : Date.parse(found.time);
  };
  const [stopped] = events;
  if (stopped === undefined) throw new Error('no stop was told');
  const { evidence } = stopped.data as { evidence: { lastTickAt: string | null } };
  const lastTick = Date.parse(evidence.lastTickAt ?? stopped.time);
  const told = time('heartbeatStopped');
  const ofStep = (step: string, phase: string): number => time('recoveryStep', { step, phase });
  const back = time('heartbeatResumed');
  return {
    'last tick -> stop told': told - lastTick,
    'stop told -> recovery planned': time('recoveryPlanned') - told,
    'evidence: begun -> done': ofStep('evidence', 'done') - ofStep('evidence', 'begun'),
    'evidence done -> reset begun': ofStep('reset', 'begun') - ofStep('evidence', 'done'),
    'reset: begun -> done': ofStep('reset', 'done') - ofStep('reset', 'begun'),
    'reset done -> first tick': back - ofStep('reset', 'done'),
    'last tick -> heartbeat back': back - lastTick,
  };
}

async function round(service: RealService, vm: VirtualMachine, fault: Fault): Promise<Round> {
  await service.tell(vm, fault);
  const stopped = await service.heard.wait(vm.name, 'heartbeatStopped', 60_000);
  await service.heard.wait(vm.name, 'recoverySucceeded', 300_000);
  return stagesOf(service.heard.of(vm.name).filter(({ seq }) => seq >= stopped.seq));
}

async function measure(fault: Fault, rounds: number): Promise<void> {
  const service = await RealService.start();
  try {
    const all: Round[] = [];
    const recovery = { action: 'reset', minRunningMs: 0, settleMs: 240_000 } as const;
    for (let nth = 1; nth <= rounds; nth += 1) {
      // A guest of its own each: the bound of attempts in a window is none of this.
      const vm = await service.live(`${fault}-${nth}`, { recovery });
      all.push(await round(service, vm, fault));
      await service.clear();
      console.log(`  ${vm.name}: ${all.at(-1)?.['last tick -> heartbeat back']} ms`);
    }
    console.log(`\n| ${fault}, ${rounds} rounds | median | max |\n| --- | --- | --- |`);
    for (const stage of stages) {
      const values = all.map((each) => each[stage]);
      const shown = [0.5, 1].map((share) => `${quantile(values, share).toFixed(0)} ms`);
      console.log(`| ${stage} | ${shown.join(' | ')} |`);
    }
  } finally {
    await service.dispose();
  }
}

const [rounds = '10', kind] = process.argv.slice(2);
sayWhere();
for (const fault of ['hang', 'panic'] as const) {
  if (kind === undefined || kind === fault) await measure(fault, Number(rounds));
}
sayWhere();
process.exit(0);
