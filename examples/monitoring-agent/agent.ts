// Prints every event of a vmpulse server and restarts the machines whose heartbeat stopped. Events that come while it
// is away wait for it; one whose machine it could not restart comes again (6 times in 15 s, then it is a dead letter).
// For limits, backoff and evidence use vmpulse's own recovery; machines that have a policy there are left to it.
//
//   /opt/vmpulse/node_modules/.bin/node /opt/vmpulse/examples/monitoring-agent/agent.ts /var/lib/vmpulse
//   install -m 0644 /opt/vmpulse/examples/monitoring-agent/vmpulse-agent.service /etc/systemd/system/
//   systemctl daemon-reload && systemctl enable --now vmpulse-agent
import { type Verdict, eventTypeOf, isEvent } from '@vmpulse/client';
import { connectToDataDirectory } from '@vmpulse/client/node';

// Not 'busy': that guest is silent, but its disks or processors work, and it may come back.
const dead = new Set<Verdict>([
  'exited',
  'panicked',
  'watchdog',
  'tripleFault',
  'internalError',
  'hung',
  'spinning',
]);

const server = await connectToDataDirectory(process.argv[2] ?? '/var/lib/vmpulse');

/** Restarts a machine that is stopped still, however often it is asked to. What it throws says: not done, ask again. */
async function restart(id: string, stoppedSeq: number): Promise<void> {
  const vm = await server.tryFindVirtualMachine(id);
  if (vm === undefined || vm.info.guest.hold !== null || !dead.has(vm.info.guest.verdict)) return;
  const { action } = (await vm.recovery.info()).policy;
  if (action !== 'none' && action !== 'notify') return;
  const isOff = vm.state === 'turnedOff' || vm.state === 'saved';
  if (isOff && (vm.info.guest.verdict !== 'exited' || (await ranSince(id, stoppedSeq)))) return;
  const task = await (isOff ? vm.startup() : vm.reset());
  await task.waitForCompletion(45_000);
  console.log(`${new Date().toISOString()} ${vm.name} was ${isOff ? 'started' : 'reset'}`);
}

/** Has it run since? Then somebody turned it off. */
async function ranSince(vm: string, after: number): Promise<boolean> {
  const { events } = await server.listEvents({ after, vm, types: ['stateChanged'] });
  return events.some((event) => isEvent(event, 'stateChanged') && event.data.state === 'running');
}

const ending = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort());
const connection = server.advise(
  {
    async onEvent(event) {
      const { vm, ...facts } = event.data;
      console.log(event.time, `#${event.seq}`, eventTypeOf(event), vm?.name ?? '-', JSON.stringify(facts));
      if (isEvent(event, 'heartbeatStopped') && vm !== undefined) await restart(vm.id, event.seq);
    },
    // Events were deleted before they could be delivered: there may have been stops among them.
    async onGap({ to }) {
      for (const vm of await server.virtualMachines()) await restart(vm.id, to ?? 0);
    },
  },
  {
    name: 'monitoring-agent',
    maxAttempts: 6,
    signal: ending.signal,
    onError: ({ message }) => console.error(message),
  },
);
// Once it was told to end, and what it was doing is done and acknowledged; or the server has no more for it.
const refused = await connection.closed;
await server.close();
process.exitCode = refused === undefined ? 0 : 1;
