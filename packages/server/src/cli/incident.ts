/** `vmpulse incident`: the story of a stop, and what was kept of it. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type IncidentInfo, type VirtualServer, type VmEvent, VmError, eventTypeOf } from '@vmpulse/client';
import { type Command, InvalidArgumentError } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { eventLine } from './event-sentence.ts';
import { storyOf } from './incident-story.ts';
import { type Column, renderTable } from './table.ts';
import type { Terminal } from './terminal.ts';
import { clean, toJson } from './text.ts';

/** Events of the machine that are looked through for the end of the story. */
const maxStory = 200;

const columns: Column<IncidentInfo>[] = [
  { head: 'EVENT', cell: ({ seq }) => String(seq) },
  { head: 'MACHINE', cell: ({ vm }) => vm.name },
  { head: 'AT', cell: ({ at }) => at },
  { head: 'VERDICT', cell: ({ verdict }) => verdict },
  { head: 'FILES', cell: ({ files }) => files.map(({ name }) => name).join(' '), maxWidth: 80 },
];

function parseSeq(text: string): number {
  if (/^[1-9]\d{0,15}$/u.test(text)) return Number(text);
  throw new InvalidArgumentError('Give the number of the heartbeatStopped event, see vmpulse incident list.');
}

/** None where they are no longer kept: the evidence is shown all the same. */
async function keptEvents(server: VirtualServer, seq: number, vm: string): Promise<VmEvent[]> {
  try {
    return (await server.listEvents({ after: seq - 1, vm, limit: maxStory })).events;
  } catch (error) {
    if (error instanceof VmError && error.code === 'VMPULSE_E_CURSOR_EXPIRED') return [];
    throw error;
  }
}

/** What happened from the stop to the heartbeat that came back, or to the end of what there is. */
async function story(server: VirtualServer, incident: IncidentInfo): Promise<VmEvent[]> {
  const { seq, vm } = incident;
  const events = await keptEvents(server, seq, vm.id);
  const ends = new Set(['heartbeatResumed', 'recoverySucceeded', 'vmDeleted']);
  const next = events.findIndex((event) => event.seq > seq && eventTypeOf(event) === 'heartbeatStopped');
  const told = next < 0 ? events : events.slice(0, next);
  const last = told.findLastIndex((event) => ends.has(eventTypeOf(event)));
  return last < 0 ? told : told.slice(0, last + 1);
}

function registerShow(group: Command, terminal: Terminal): void {
  const show = group
    .command('show <event>')
    .description('the whole story of one stop: verdict and why, what was tried, what came back');
  addConnectionFlags(show, 'vmpulse incident show 1234');
  show.action(async (event: string, flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const incident = await server.incidents.get(parseSeq(event));
      const events = await story(server, incident);
      if (flags.json === true) {
        await terminal.out(toJson({ incident, events }, 2));
        return;
      }
      const files = incident.files.map(({ name, bytes }) => clean(`  ${name}  ${bytes} bytes`));
      const missing = incident.missing.map(({ name, reason }) => clean(`  ${name}  missing: ${reason}`));
      const head = clean(`incident ${incident.seq}: '${incident.vm.name}' (${incident.verdict})`);
      await terminal.out(
        [
          head,
          ...storyOf(incident, events),
          'events:',
          ...events.map(eventLine),
          'kept:',
          ...files,
          ...missing,
        ].join('\n'),
      );
    });
  });
}

function registerSave(group: Command, terminal: Terminal): void {
  const save = group
    .command('save <event> [directory]')
    .alias('fetch')
    .description('copies what was kept to a directory; default: incident-<event>');
  addConnectionFlags(save, 'vmpulse incident save 1234 /tmp/web-1');
  save.action(async (event: string, directory: string | undefined, flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const incident = await server.incidents.get(parseSeq(event));
      const target = directory ?? `incident-${incident.seq}`;
      await mkdir(target, { recursive: true });
      for (const { name } of incident.files) {
        // The server's word; a name is no path here.
        if (!/^[\w-][\w.-]{0,100}$/u.test(name)) throw new VmError('E_UNEXPECTED', 'A file has an odd name.');
        const options = { flag: 'wx', mode: 0o600 };
        await writeFile(join(target, name), server.incidents.pieces(incident.seq, name), options);
      }
      const names = incident.files.map(({ name }) => name);
      const what = names.join(', ') || 'nothing: nothing was kept';
      await terminal.out(
        flags.json === true ? toJson({ directory: target, files: names }) : clean(`${target}: ${what}`),
      );
    });
  });
}

/** Adds the group. */
export function registerIncident(program: Command, terminal: Terminal): void {
  const group = program.command('incident').description('stops, and what was kept of them');
  const list = group.command('list').description('incidents that are kept, the newest first');
  addConnectionFlags(list, 'vmpulse incident list').action(async (flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const incidents = await server.incidents.list();
      if (flags.json === true) await terminal.out(toJson(incidents, 2));
      else {
        const table = renderTable(columns, incidents, terminal.color);
        await terminal.out(incidents.length === 0 ? 'No incidents.' : table);
      }
    });
  });
  registerShow(group, terminal);
  registerSave(group, terminal);
}
