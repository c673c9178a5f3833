/**
 * From a real guest's end to a client's sink: `node bench/real-guests.ts [killed|panic|hang-1000|hang-100] [rounds]`.
 * Needs a built checkout and VMPULSE_GUEST_IMAGE (npm test sets it; by hand: what `sh images/build.sh` prints).
 *
 * killed: from kill(2) to the sink, QEMU's own teardown included, and from when its exit was seen. panic: from the
 * receipt of QEMU's event to the sink (the event's `time` has milliseconds). hang-*: from the guest's last tick to it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { eventTypeOf, type VirtualMachine, type VmEvent } from '@vmpulse/client';
import { RealService } from '../test/support/real-service.ts';

interface Arrival {
  readonly event: VmEvent;
  readonly wallMs: number;
}

/** Nearest-rank percentile. */
function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

function report(what: string, values: readonly number[]): void {
  const sorted = values.toSorted((a, b) => a - b);
  const line = [0.5, 0.99, 1].map((share) => percentile(sorted, share).toFixed(1));
  console.log(`${what}: ${values.length} rounds, p50 ${line[0]} ms, p99 ${line[1]} ms, max ${line[2]} ms`);
}

/** Waits for the next heartbeatStopped of a machine; the clock is read as the sink is called. */
class Stops {
  readonly #waiting = new Map<string, (arrival: Arrival) => void>();

  constructor(service: RealService) {
    service.server.advise({
      onEvent: (event) => {
        if (eventTypeOf(event) !== 'heartbeatStopped') return;
        this.#waiting.get(event.subject ?? '')?.({
          event,
          wallMs: performance.timeOrigin + performance.now(),
        });
      },
    });
  }

  next(name: string): Promise<Arrival> {
    return new Promise((resolve) => {
      this.#waiting.set(name, resolve);
    });
  }
}

async function killed(service: RealService, rounds: number): Promise<void> {
  const stops = new Stops(service);
  const vm = await service.create('killed');
  const whole: number[] = [];
  const ours: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    await (await vm.startup()).waitForCompletion(60_000);
    const pid = await service.pidOf(vm);
    const stopped = stops.next('killed');
    const sinceMs = performance.timeOrigin + performance.now();
    process.kill(pid, 'SIGKILL');
    const { event, wallMs } = await stopped;
    whole.push(wallMs - sinceMs);
    ours.push(wallMs - Date.parse(event.time));
    await untilOff(vm);
  }
  report('QEMU killed: kill(2) to sink', whole);
  report('QEMU killed: exit seen to sink', ours);
}

async function untilOff(vm: VirtualMachine): Promise<void> {
  while ((await vm.refresh()).state !== 'turnedOff');
}

/** Rounds on some guests side by side; each is reset and boots again after its round. */
async function roundsOf(
  service: RealService,
  guests: number,
  total: number,
  parameters: string,
  round: (vm: VirtualMachine, stops: Stops) => Promise<number>,
): Promise<number[]> {
  const stops = new Stops(service);
  const values: number[] = [];
  const each = async (index: number): Promise<void> => {
    const vm = await service.live(`guest-${index}`, {}, parameters);
    for (let nth = 1; values.length < total; nth += 1) {
      const value = await round(vm, stops);
      values.push(value);
      // Rounds take long: each is shown, so that a run that is cut off has not been in vain.
      console.log(`  ${vm.name}: ${value.toFixed(1)} ms`);
      if (values.length >= total) return;
      await (await vm.reset()).waitForCompletion(60_000);
      await service.heard.wait(vm.name, 'heartbeatResumed', 300_000, nth);
    }
  };
  await Promise.all(Array.from({ length: guests }, (_none, index) => each(index)));
  return values.slice(0, total);
}

async function panic(service: RealService, total: number): Promise<void> {
  const values = await roundsOf(service, 3, total, '', async (vm, stops) => {
    const stopped = stops.next(vm.name);
    await (await vm.injectNmi()).waitForCompletion(10_000);
    const { event, wallMs } = await stopped;
    return wallMs - Date.parse(event.time);
  });
  report('guest panics: QMP event received to sink', values);
}

async function hang(service: RealService, total: number, intervalMs: number): Promise<void> {
  const values = await roundsOf(service, 2, total, `vmpulse.interval_ms=${intervalMs}`, async (vm, stops) => {
    // Twenty ticks and some: the guest's lateness is known, as it is of any guest that ran for a while.
    await delay(25 * intervalMs);
    const stopped = stops.next(vm.name);
    await service.tell(vm, 'hang');
    const { event, wallMs } = await stopped;
    const { evidence, verdict } = event.data as unknown as {
      evidence: { sinceLastTickMs: number };
      verdict: string;
    };
    if (verdict !== 'hung') console.log(`  a round's verdict was ${verdict}: ${JSON.stringify(evidence)}`);
    return evidence.sinceLastTickMs + (wallMs - Date.parse(event.time));
  });
  report(`user space hangs, interval ${intervalMs} ms: last tick to sink`, values);
}

const kinds: Record<string, (service: RealService, count: number | undefined) => Promise<void>> = {
  killed: (service, count) => killed(service, count ?? 200),
  panic: (service, count) => panic(service, count ?? 200),
  'hang-1000': (service, count) => hang(service, count ?? 50, 1_000),
  'hang-100': (service, count) => hang(service, count ?? 50, 100),
};

const [kind, count] = process.argv.slice(2);
for (const [name, run] of Object.entries(kinds)) {
  if (kind !== undefined && kind !== name) continue;
  const service = await RealService.start();
  try {
    await run(service, count === undefined ? undefined : Number(count));
  } finally {
    await service.dispose();
  }
}
process.exit(0);
