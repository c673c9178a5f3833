/** `vmpulse subscription create|list|show|delete|dead-letters|replay|drop` */
import {
  type DeadLetter,
  type EventType,
  type EventVerdict,
  type SubscriptionInfo,
  type SubscriptionRequest,
  eventTypeOf,
} from '@vmpulse/client';
import { type Command, InvalidArgumentError } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { addFilterFlags } from './filter-flags.ts';
import { parseHoldLength } from './hold.ts';
import { type Column, renderTable } from './table.ts';
import type { Terminal } from './terminal.ts';
import { clean, formatDuration, toJson } from './text.ts';

interface CreateFlags extends ConnectionFlags {
  type?: EventType[];
  vm?: string[];
  verdict?: EventVerdict[];
  from?: number;
  maxAttempts?: number;
  ackTimeout?: number;
}

function parseWhole(text: string): number {
  if (/^[1-9]\d{0,15}$/u.test(text)) return Number(text);
  throw new InvalidArgumentError('Give a whole number from 1.');
}

/** ms; 0: none. Errors: usage. */
function parseAckTimeout(text: string): number {
  return text === 'none' ? 0 : parseHoldLength(text) * 1_000;
}

const age = ({ oldestUnacknowledgedMs: ms }: SubscriptionInfo): string =>
  ms === null ? '-' : formatDuration(ms);

const columns: Column<SubscriptionInfo>[] = [
  { head: 'NAME', cell: ({ name }) => name, maxWidth: 64 },
  { head: 'STATE', cell: ({ state, standby }) => (standby > 0 ? `${state} (+${standby})` : state) },
  { head: 'CURSOR', cell: ({ cursor }) => String(cursor), align: 'right' },
  { head: 'LAG', cell: ({ lag }) => String(lag), align: 'right' },
  { head: 'OLDEST', cell: age, align: 'right' },
  {
    head: 'DEAD LETTERS',
    cell: ({ deadLetters }) => String(deadLetters),
    align: 'right',
    color: ({ deadLetters }) => (deadLetters > 0 ? 'red' : undefined),
  },
];

const letterColumns: Column<DeadLetter>[] = [
  { head: 'SEQ', cell: ({ seq }) => String(seq), align: 'right' },
  { head: 'MACHINE', cell: ({ event }) => event.data.vm?.name ?? '-' },
  { head: 'TYPE', cell: ({ event }) => eventTypeOf(event) },
  { head: 'ATTEMPTS', cell: ({ attempts }) => String(attempts), align: 'right' },
  { head: 'SET ASIDE', cell: ({ setAsideAt, replaying }) => (replaying ? 'being replayed' : setAsideAt) },
  { head: 'REASON', cell: ({ reason }) => reason, maxWidth: 80 },
];

function describe(info: SubscriptionInfo): string {
  const listed = (values: readonly string[] | null): string => values?.join(', ') ?? 'all';
  const rows = {
    name: info.name,
    state: info.state === 'served' ? `served, ${info.standby} on standby` : 'waiting for a consumer',
    types: listed(info.types),
    machines: listed(info.machines),
    verdicts: listed(info.verdicts),
    'max attempts': String(info.maxAttempts),
    'ack timeout': info.ackTimeoutMs === null ? 'none' : formatDuration(info.ackTimeoutMs),
    cursor: String(info.cursor),
    lag: `${info.lag} events`,
    oldest: age(info),
    'in flight': String(info.inFlight),
    redeliveries: String(info.redeliveries),
    'dead letters': String(info.deadLetters),
    created: info.createdAt,
  };
  return Object.entries(rows)
    .map(([key, value]) => `${key.padEnd(14)}${clean(value)}`)
    .join('\n');
}

function registerCreate(parent: Command, terminal: Terminal): void {
  const command = addFilterFlags(
    parent
      .command('create <name>')
      .description('make one, or replace the filter of one: its cursor stays then'),
    'of events with a verdict only those with these',
  )
    .option('--from <seq>', 'first event wanted; default: what is told from now on', parseWhole)
    .option('--max-attempts <n>', 'attempts until an event is set aside; default 10', parseWhole)
    .option(
      '--ack-timeout <length>',
      'how long a consumer may answer nothing: 1s to 1h, or none; default 60s',
      parseAckTimeout,
    );
  addConnectionFlags(
    command,
    'vmpulse subscription create pager --type heartbeatStopped,heartbeatResumed --ack-timeout 30s',
  );
  command.action(async (name: string, flags: CreateFlags) => {
    await withServer(flags, terminal, async (server) => {
      const request: SubscriptionRequest = {
        ...(flags.type === undefined ? {} : { types: flags.type }),
        ...(flags.vm === undefined ? {} : { machines: flags.vm }),
        ...(flags.verdict === undefined ? {} : { verdicts: flags.verdict }),
        ...(flags.from === undefined ? {} : { from: flags.from }),
        ...(flags.maxAttempts === undefined ? {} : { maxAttempts: flags.maxAttempts }),
        ...(flags.ackTimeout === undefined ? {} : { ackTimeoutMs: flags.ackTimeout || null }),
      };
      const info = await server.subscriptions.put(name, request);
      await terminal.out(flags.json === true ? toJson(info, 2) : describe(info));
    });
  });
}

function registerLooks(parent: Command, terminal: Terminal): void {
  const list = parent.command('list').description('all, with how far each is behind');
  addConnectionFlags(list, 'vmpulse subscription list').action(async (flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const infos = await server.subscriptions.list();
      if (flags.json === true) await terminal.out(toJson(infos, 2));
      else await terminal.out(infos.length === 0 ? 'None.' : renderTable(columns, infos, terminal.color));
    });
  });
  const show = parent.command('show <name>').description('one: its filter, and how it stands');
  addConnectionFlags(show, 'vmpulse subscription show pager').action(
    async (name: string, flags: ConnectionFlags) => {
      await withServer(flags, terminal, async (server) => {
        const info = await server.subscriptions.get(name);
        await terminal.out(flags.json === true ? toJson(info, 2) : describe(info));
      });
    },
  );
  const letters = parent.command('dead-letters <name>').description('events that were set aside');
  addConnectionFlags(letters, 'vmpulse subscription dead-letters pager').action(
    async (name: string, flags: ConnectionFlags) => {
      await withServer(flags, terminal, async (server) => {
        const found = await server.subscriptions.deadLetters(name);
        if (flags.json === true) await terminal.out(toJson(found, 2));
        else
          await terminal.out(
            found.length === 0 ? 'None.' : renderTable(letterColumns, found, terminal.color),
          );
      });
    },
  );
}

function registerChanges(parent: Command, terminal: Terminal): void {
  const remove = parent.command('delete <name>').description('forget one, with its dead letters');
  addConnectionFlags(remove, 'vmpulse subscription delete pager').action(
    async (name: string, flags: ConnectionFlags) => {
      await withServer(flags, terminal, async (server) => {
        await server.subscriptions.delete(name);
        await terminal.out(flags.json === true ? toJson({ deleted: name }) : `'${clean(name)}' is deleted`);
      });
    },
  );
  const replay = parent
    .command('replay <name>')
    .argument('<seq>', 'number of the event', parseWhole)
    .description('deliver a dead letter once more; taken, it is gone');
  addConnectionFlags(replay, 'vmpulse subscription replay pager 4711').action(
    async (name: string, seq: number, flags: ConnectionFlags) => {
      await withServer(flags, terminal, async (server) => {
        await server.subscriptions.replay(name, seq);
        await terminal.out(flags.json === true ? toJson({ replayed: seq }) : `#${seq} is delivered again`);
      });
    },
  );
  const drop = parent
    .command('drop <name>')
    .argument('<seq>', 'number of the event', parseWhole)
    .description('forget a dead letter');
  addConnectionFlags(drop, 'vmpulse subscription drop pager 4711').action(
    async (name: string, seq: number, flags: ConnectionFlags) => {
      await withServer(flags, terminal, async (server) => {
        await server.subscriptions.drop(name, seq);
        await terminal.out(flags.json === true ? toJson({ dropped: seq }) : `#${seq} is dropped`);
      });
    },
  );
}

/** Adds the command. */
export function registerSubscription(program: Command, terminal: Terminal): void {
  const parent = program
    .command('subscription')
    .description('durable subscriptions: who must be told, and how far each is behind');
  registerCreate(parent, terminal);
  registerLooks(parent, terminal);
  registerChanges(parent, terminal);
}
