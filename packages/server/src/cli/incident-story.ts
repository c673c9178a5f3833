/** One stop, in short: last tick, verdict and why, what was tried and how long each stage took, what came back. */
import { type IncidentInfo, type VmEvent, isEvent } from '@vmpulse/client';
import { clean, formatDuration } from './text.ts';

type Line = [label: string, text: string];

/** Lines of a table without a head; safe for a terminal. `events` are those of the machine since the stop. */
export function storyOf(incident: IncidentInfo, events: readonly VmEvent[]): string[] {
  const lines = [...beginning(incident, events), ...stages(events), ...ending(events)];
  return lines.map(([label, text]) => clean(`  ${label.padEnd(10)}${text}`));
}

function beginning(incident: IncidentInfo, events: readonly VmEvent[]): Line[] {
  const stop = events.find((event) => event.seq === incident.seq);
  if (stop === undefined || !isEvent(stop, 'heartbeatStopped')) {
    return [['verdict', `${incident.verdict}; the event of the stop is no longer kept`]];
  }
  const { verdict, cause, evidence, correlated } = stop.data;
  const { lastTickAt, sinceLastTickMs, silenceMs, intervalMs, witnesses, detail } = evidence;
  const before = sinceLastTickMs === null ? '' : `, ${formatDuration(sinceLastTickMs)} before it was told`;
  const every = intervalMs === null ? '' : `, ticks were due every ${formatDuration(intervalMs)}`;
  const silent = silenceMs === null ? '' : `, silent for ${formatDuration(silenceMs)}`;
  const together = correlated === true ? ', together with others' : '';
  return [
    ['last tick', lastTickAt === null ? 'none was heard' : `${lastTickAt}${before}${every}`],
    ['verdict', `${verdict} at ${stop.time}${together}`],
    ['why', `${cause}${silent}${detail === undefined ? '' : `: ${detail}`}`],
    ...witnesses.map(({ witness, answer, tookMs }): Line => {
      return ['', `${witness}: ${answer} (answered in ${formatDuration(tookMs)})`];
    }),
  ];
}

function stages(events: readonly VmEvent[]): Line[] {
  const lines: Line[] = [];
  let begunMs = 0;
  for (const event of events) {
    if (!isEvent(event, 'recoveryStep')) continue;
    const { step, phase, attempt, reason, error, dryRun } = event.data;
    const atMs = Date.parse(event.time);
    if (phase === 'begun') begunMs = atMs;
    else {
      const rehearsed = dryRun === true ? ', dry run' : '';
      const took = formatDuration(Math.max(0, atMs - begunMs));
      const end = error?.detail ?? reason;
      lines.push(['tried', `${step} ${phase} in ${took} (attempt ${attempt}${rehearsed}): ${end}`]);
    }
  }
  return lines.length === 0 ? [['tried', 'nothing']] : lines;
}

function ending(events: readonly VmEvent[]): Line[] {
  const lines: Line[] = [];
  for (const event of events) {
    if (isEvent(event, 'heartbeatResumed')) {
      lines.push(['came back', `${event.time}, ${formatDuration(event.data.outageMs)} after it stopped`]);
    } else if (isEvent(event, 'heartbeatStarted')) {
      lines.push(['came back', `${event.time}, after a start`]);
    } else if (isEvent(event, 'recoverySucceeded')) {
      const { step, attempts, recoveryMs } = event.data;
      const times = attempts === 1 ? '1 attempt' : `${attempts} attempts`;
      lines.push([
        'by',
        `${step}, ${times}, ${formatDuration(recoveryMs)} from the first step to the heartbeat`,
      ]);
    } else if (isEvent(event, 'recoveryGaveUp')) {
      lines.push(['gave up', event.data.detail]);
    }
  }
  return lines.length === 0 ? [['came back', 'not until now']] : lines;
}
