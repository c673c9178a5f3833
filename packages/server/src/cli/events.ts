/** `vmpulse events` */
import {
  type EventType,
  type VirtualServer,
  VmError,
  eventTypeNames,
  eventTypePrefix,
} from '@vmpulse/client';
import { type Command, InvalidArgumentError } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { eventColor, eventLine } from './event-sentence.ts';
import { findMachine, nearestName } from './machine-name.ts';
import { paint } from './table.ts';
import type { Terminal } from './terminal.ts';
import { clean, toJson } from './text.ts';

interface EventsFlags extends ConnectionFlags {
  follow?: boolean;
  after?: number;
  last?: number;
  vm?: string;
  type?: EventType[];
}

/** The client's own bound of `last`. */
const maxLast = 10_000;

/** A seq. Errors: usage. */
function parseSeq(text: string): number {
  const seq = /^\d{1,16}$/u.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(seq)) return seq;
  throw new InvalidArgumentError('Give the number of an event, or 0 for all.');
}

function parseLast(text: string): number {
  const count = /^\d{1,5}$/u.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= maxLast) return count;
  throw new InvalidArgumentError(`Give a whole number from 1 to ${maxLast}.`);
}

/** Types separated by commas, with or without their prefix, in any case; may be given several times. */
function parseTypes(text: string, before: EventType[] = []): EventType[] {
  const found = text.split(',').map((part) => {
    const wanted = part.trim().toLowerCase().replace(eventTypePrefix, '');
    const type = eventTypeNames.find((name) => name.toLowerCase() === wanted);
    if (type !== undefined) return type;
    const meant = nearestName(wanted, eventTypeNames);
    const hint = meant === undefined ? `One of: ${eventTypeNames.join(', ')}.` : `Did you mean ${meant}?`;
    throw new InvalidArgumentError(`There is no event type '${part.trim()}'. ${hint}`);
  });
  return [...new Set([...before, ...found])];
}

/** Adds the command. */
export function registerEvents(program: Command, terminal: Terminal): void {
  const command = program
    .command('events')
    .description('what happened; with --follow, what happens as it does')
    .option('-f, --follow', 'go on with events as they come, until Ctrl-C')
    .option(
      '--after <seq>',
      'only events after this number (default: all kept; with --follow: from now on)',
      parseSeq,
    )
    .option(
      '--last <count>',
      'only the newest so many of those that fit; with --follow what comes follows',
      parseLast,
    )
    .option('--vm <name>', 'only those of one machine (a deleted one: by its id)')
    .option('--type <type>', 'only those of a type; several with commas', parseTypes);
  addConnectionFlags(
    command,
    'vmpulse events --follow --type heartbeatStopped,heartbeatResumed\n' +
      'vmpulse events --last 20 --vm web-1\nvmpulse events --after 1200 --json | jq .data',
  );
  command.action(async (flags: EventsFlags) => {
    await withServer(flags, terminal, (server) => showEvents(server, flags, terminal));
  });
}

async function showEvents(server: VirtualServer, flags: EventsFlags, terminal: Terminal): Promise<void> {
  let lost = false;
  const events = server.events({
    follow: flags.follow === true,
    signal: terminal.interrupted,
    ...(flags.after === undefined ? {} : { after: flags.after }),
    ...(flags.last === undefined ? {} : { last: flags.last }),
    ...(flags.vm === undefined ? {} : { vm: await vmKey(server, flags.vm) }),
    ...(flags.type === undefined ? {} : { types: flags.type }),
    onGap: (gap) => {
      const what =
        gap.reason === 'expired'
          ? `events ${gap.from} to ${gap.to ?? '?'} are no longer kept`
          : 'the server has another event log now';
      terminal.err(`vmpulse: ${what}; going on with the oldest there is`);
    },
    onConnectionChange: (error) => {
      if (error !== undefined && !lost)
        terminal.err(`vmpulse: ${clean(error.message)} Trying again; nothing is lost.`);
      if (error === undefined && lost) terminal.err('vmpulse: connected again');
      lost = error !== undefined;
    },
  });
  for await (const event of events) {
    const line =
      flags.json === true ? toJson(event) : paint(eventLine(event), eventColor(event), terminal.color);
    await terminal.out(line);
  }
  if (terminal.interrupted.aborted) throw new VmError('E_ABORT', 'interrupted');
}

/** An id as it is, since its machine may be deleted; a name by asking, with a guess when it is misspelt. */
async function vmKey(server: VirtualServer, vm: string): Promise<string> {
  return /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/iu.test(vm) ? vm : (await findMachine(server, vm)).id;
}
