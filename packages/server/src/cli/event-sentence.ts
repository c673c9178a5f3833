/** Events as sentences for people: one pure function, a phrase for each type. */
import {
  type EventDataByType,
  type Evidence,
  type EventType,
  type VmEvent,
  eventTypeOf,
} from '@vmpulse/client';
import type { Color } from './table.ts';
import { clean, formatDuration, shorten } from './text.ts';

/** Longest sentence; evidence may quote what a guest or QEMU wrote. */
const maxSentence = 700;

const verdictPhrases: Record<VmEvent<'heartbeatStopped'>['data']['verdict'], string> = {
  exited: 'its process is gone',
  panicked: 'its kernel panicked',
  watchdog: 'its watchdog was not fed',
  tripleFault: 'its processor met a triple fault',
  internalError: 'QEMU met an internal error',
  hung: 'no ticks and idle processors',
  spinning: 'no ticks, processors at full speed and no I/O',
  busy: 'no ticks for long, though its disks or processors work',
};

const processStates: Readonly<Record<string, string>> = {
  R: 'its process runs',
  S: 'its process waits',
  D: 'its process is blocked by the host',
  T: 'its process is stopped',
  t: 'its process is held by a debugger',
};

const ioPhrases: Readonly<Record<string, string>> = {
  moves: 'its disks or network work',
  'stands still': 'its disks and network stand still',
};

/** What a witness said, as part of a sentence; `answer` is the server's own wording. */
const witnessPhrases: Readonly<Record<string, (answer: string) => string>> = {
  runState: (answer) => `QEMU ${answer.startsWith('no answer') ? 'gave' : 'says'} ${answer}`,
  process: (answer) => {
    const [state = '', ...more] = answer.split(', ');
    return [processStates[state] ?? `its process is ${answer}`, ...more].join(', ');
  },
  vcpus: (answer) => `its processors ${answer}`,
  heartbeatPort: (answer) => `the port of its heartbeat is ${answer}`,
  agent: (answer) => `its agent ${answer.startsWith('no answer') ? `gave ${answer}` : answer}`,
  io: (answer) => ioPhrases[answer] ?? `its disks and network: ${answer}`,
  serialLog: (answer) => `its serial log ends with a ${answer}`,
  canaries: (answer) => `of those that fell silent with it some were asked first (${answer})`,
};

function describeWitness({ witness, answer }: Evidence['witnesses'][number]): string {
  const phrase = Object.hasOwn(witnessPhrases, witness) ? witnessPhrases[witness] : undefined;
  return phrase?.(answer) ?? `${witness}: ${answer}`;
}

/** Why a verdict is what it is: silence, what was not counted, what the witnesses said. */
function describeEvidence(evidence: Evidence): string[] {
  const parts: string[] = [];
  if (evidence.silenceMs !== null) parts.push(`silent for ${formatDuration(evidence.silenceMs)}`);
  const { suspendedMs, runDelayMs } = evidence.subtracted;
  if (suspendedMs >= 1) parts.push(`${formatDuration(suspendedMs)} suspended or out of sight not counted`);
  if (runDelayMs >= 1) parts.push(`${formatDuration(runDelayMs)} without a host processor not counted`);
  for (const witness of evidence.witnesses) parts.push(describeWitness(witness));
  if (evidence.exit !== undefined) {
    const { exitCode, signal, stderr } = evidence.exit;
    // Of a process that was adopted nobody learns either.
    if (signal !== null) parts.push(`ended by ${signal}`);
    else if (exitCode !== null) parts.push(`exit code ${exitCode}`);
    const last = stderr.trim().split('\n').at(-1) ?? '';
    if (last !== '') parts.push(`it wrote "${last}"`);
  }
  if (evidence.detail !== undefined) parts.push(evidence.detail);
  return parts;
}

function withReasons(head: string, reasons: readonly string[]): string {
  return reasons.length === 0 ? head : `${head}: ${reasons.join(', ')}`;
}

function since(others: number): string {
  return others === 0 ? '' : `, and ${others} times more since that was last told`;
}

function describeScript(data: VmEvent<'scriptEnded'>['data']): string {
  const whose = data.scope === 'server' ? "the server's script" : 'its script';
  const what = `${whose} ${data.executable} on ${data.trigger} (#${data.eventSeq})`;
  const again = data.attempt > 1 ? `, attempt ${data.attempt}` : '';
  const last = data.output.trim().split('\n').at(-1) ?? '';
  const wrote = last === '' ? '' : `; it wrote "${last}"`;
  const took = formatDuration(data.durationMs);
  const how = {
    ok: `ended well after ${took}`,
    failed: `FAILED after ${took}, ${data.signal ?? `exit status ${data.exitStatus}`}`,
    timedOut: `WAS ENDED after ${took}: ${data.detail}`,
    notStarted: `COULD NOT BE STARTED: ${data.detail}`,
  }[data.outcome];
  return `${what} ${how}${again}${wrote}`;
}

function rehearsed(dryRun: true | undefined): string {
  return dryRun === true ? 'dry run: ' : '';
}

type Phrases = { readonly [T in EventType]: (data: VmEvent<T>['data']) => string };

const stateCauses: Record<NonNullable<EventDataByType['stateChanged']['cause']>, string> = {
  processExit: 'its process ended by itself',
  autostart: 'autostart',
  diskSpace: 'by vmpulse: its disk has no space left',
};

const phrases: Phrases = {
  serviceStarted: (data) =>
    `service ${data.version} started (pid ${data.pid})${data.unclean ? '; it had not ended in order before' : ''}`,
  serviceStopped: (data) => `service stopped: ${data.reason}`,
  vmCreated: (data) => `created (${data.hypervisor})`,
  vmDeleted: () => 'deleted',
  configurationChanged: ({ key, value, effective }) => {
    const when = effective === 'nextStart' ? ' at its next start' : '';
    return `${key} is now ${JSON.stringify(value) ?? 'unset'}${when}`;
  },
  stateChanged: ({ previousState, state, cause }) =>
    `${previousState} -> ${state}${cause === undefined ? '' : ` (${stateCauses[cause]})`}`,
  shutdownRequested: () => 'asked to shut down (power button)',
  turnedOffByGuest: (data) => `turned off by its guest (${data.reason})`,
  guestReset: (data) => `reset by ${data.byGuest ? 'its guest' : 'the host'} (${data.reason})`,
  tripleFault: () => 'its processor met a triple fault',
  heartbeatStarted: ({ intervalMs, source, additionsVersion }) =>
    `heartbeat began: each ${formatDuration(intervalMs)} from its ${source} ${additionsVersion ?? ''}`.trimEnd(),
  heartbeatStopped: (data) => {
    const reasons = [verdictPhrases[data.verdict] ?? data.cause, ...describeEvidence(data.evidence)];
    const others = data.correlated === true ? ' together with others' : '';
    return withReasons(`HAS STOPPED${others} (${data.verdict})`, reasons);
  },
  heartbeatResumed: (data) => `runs again after ${formatDuration(data.outageMs)}`,
  additionsStopped: (data) =>
    withReasons(`runs, but its additions stopped (${data.cause})`, describeEvidence(data.evidence)),
  additionsResumed: (data) => `its additions are back after ${formatDuration(data.outageMs)}`,
  cohortSilent: ({ silent, watched, withinMs, vms, host }) => {
    const names = vms.map(({ name }) => name).join(', ');
    const many = `${silent} of ${watched} watched guests fell silent within ${formatDuration(withinMs)}`;
    return `${many}: ${names}; host: ${host}`;
  },
  hostSuspended: ({ suspendedMs }) =>
    `the host slept for ${formatDuration(suspendedMs)}, and every guest with it`,
  holdStarted: ({ scope, reason, until }) =>
    `${scope === 'all' ? 'all watches are' : 'its watch is'} held until ${until}: ${reason}`,
  holdEnded: ({ scope, how, heldMs, reason }) =>
    `${scope === 'all' ? 'all watches were' : 'its watch was'} held for ${formatDuration(heldMs)} (${reason}), ${how}`,
  deliverySetAside: ({ subscription, setAsideSeq, setAsideType, attempts, reason, droppedSeq }) => {
    const dropped = droppedSeq === undefined ? '' : `; dead letter #${droppedSeq} was dropped for it`;
    const what = `subscription '${subscription}' did not take #${setAsideSeq} (${setAsideType})`;
    return `${what} in ${attempts} attempts: it was set aside (${reason})${dropped}`;
  },
  subscriptionLostPlace: ({ subscription, from, to }) =>
    `subscription '${subscription}' lost its place: events #${from} to #${to} are no longer kept`,
  webhookDisabled: ({ webhook, reason }) =>
    `webhook ${webhook} is disabled ${reason === 'gone' ? '(its endpoint answered 410 Gone)' : 'by an operator'}`,
  webhookDeadLetter: ({ webhook, failed, attempts, error }) =>
    `webhook ${webhook} did not take #${failed} in ${attempts} attempts, and it is set aside: ${error}`,
  webhookMissed: ({ webhook, from, to }) => `webhook ${webhook} missed #${from} to #${to}: no longer kept`,
  ioError: ({ device, action, others }) =>
    `disk ${device} cannot be read or written (QEMU: ${action})${since(others)}`,
  memoryFailure: ({ recipient, action, others }) =>
    `memory of the host failed under its ${recipient} (QEMU: ${action})${since(others)}`,
  diskSpaceLow: ({ level, path, freeBytes, boundBytes, machines, machineCount }) => {
    const low = `${megabytes(freeBytes)} left at ${path}, below ${megabytes(boundBytes)}`;
    const which = machineCount === 0 ? '' : `; machines on it: ${namedMachines(machines, machineCount)}`;
    if (level === 'warning') return `DISK SPACE LOW: ${low}${which}`;
    return `DISK NEARLY FULL: ${low}${which === '' ? '' : `${which}; those that run are paused`}`;
  },
  diskSpaceRegained: ({ from, to, path, freeBytes, machineCount }) => {
    const still = to === 'ok' ? '' : ', which is still little';
    const resumed = from === 'error' && machineCount > 0 ? '; machines that were paused for it go on' : '';
    return `disk space regained: ${megabytes(freeBytes)} free at ${path}${still}${resumed}`;
  },
  diskSpaceUnknown: ({ path, reason, over }) =>
    over ? `the disk space at ${path} is known again` : `the disk space at ${path} is not known: ${reason}`,
  scriptEnded: describeScript,
  scriptsSkipped: ({ skipped, firstSeq, lastSeq, trigger, reason }) => {
    const which = trigger === null ? 'scripts were' : `the script on ${trigger} was`;
    const why = reason === 'tooMany' ? 'too many waited for it' : 'they are no longer kept';
    return `${which} not run for ${skipped} events (#${firstSeq} to #${lastSeq}): ${why}`;
  },
  migratedAway: () => 'goes on in another QEMU: it was migrated away, and did not stop',
  recoveryPlanned: ({ action, steps, dryRun }) =>
    withReasons(`${rehearsed(dryRun)}recovery is planned (${action})`, steps),
  recoveryStep: ({ step, phase, attempt, reason, error, dryRun }) =>
    `${rehearsed(dryRun)}recovery step ${step} ${phase} (attempt ${attempt}): ${error?.detail ?? reason}`,
  recoveryHeldBack: ({ reason, detail, dryRun }) =>
    `${rehearsed(dryRun)}recovery is held back (${reason}): ${detail}`,
  recoverySucceeded: ({ step, attempts, outageMs, recoveryMs }) =>
    `recovered by ${step} in ${formatDuration(recoveryMs)} (attempt ${attempts}), ` +
    `${formatDuration(outageMs)} after it stopped`,
  recoveryGaveUp: ({ detail, dryRun }) => `${rehearsed(dryRun)}RECOVERY GAVE UP: ${detail}`,
  visibilityLost: (data) => withReasons(`cannot be judged: ${data.reason}`, describeEvidence(data.evidence)),
  visibilityRegained: (data) => `can be judged again after ${formatDuration(data.outageMs)}`,
  taskFailed: (data) => `${data.operation} failed: ${data.error.detail} (${data.error.code})`,
  eventsLost: (data) => `${data.lost} events were lost: ${data.reason}`,
};

function namedMachines(machines: readonly { readonly name: string }[], count: number): string {
  const names = machines.map(({ name }) => name).join(', ');
  return count > machines.length ? `${names} and ${count - machines.length} more` : names;
}

function megabytes(bytes: number): string {
  return `${Math.floor(bytes / 1024 ** 2)} MB`;
}

/** What happened, as a sentence without the machine's name. Safe for a terminal. */
function describeEvent(event: VmEvent): string {
  const type = eventTypeOf(event);
  const phrase = phrases[type] as ((data: VmEvent['data']) => string) | undefined;
  let sentence: string;
  try {
    sentence = phrase === undefined ? `${type} ${JSON.stringify(event.data)}` : phrase(event.data);
  } catch {
    // An event of another version may lack what its phrase tells; it is shown all the same.
    sentence = `${type} ${JSON.stringify(event.data)}`;
  }
  return shorten(clean(sentence), maxSentence);
}

const colors: Partial<Record<EventType, Color>> = {
  heartbeatStopped: 'red',
  tripleFault: 'red',
  taskFailed: 'red',
  deliverySetAside: 'red',
  subscriptionLostPlace: 'red',
  recoveryGaveUp: 'red',
  recoveryHeldBack: 'yellow',
  recoverySucceeded: 'green',
  eventsLost: 'red',
  webhookDeadLetter: 'red',
  webhookMissed: 'red',
  webhookDisabled: 'yellow',
  diskSpaceLow: 'red',
  diskSpaceRegained: 'green',
  diskSpaceUnknown: 'yellow',
  heartbeatResumed: 'green',
  heartbeatStarted: 'green',
  additionsStopped: 'yellow',
  visibilityLost: 'yellow',
};

/** The color of an event's line, where colors are wanted. */
export function eventColor(event: VmEvent): Color | undefined {
  return colors[eventTypeOf(event)];
}

/** Time, number, machine, what happened. */
export function eventLine(event: VmEvent): string {
  const name = event.data.vm?.name ?? '-';
  return `${clean(event.time)}  #${event.seq}  ${shorten(clean(name), 40)}  ${describeEvent(event)}`;
}
