/** `vmpulse webhook create|list|show|delete|test|enable|disable|trust|rotate|dead-letters|replay|drop` */
import {
  type EventType,
  type ToldVerdict,
  type VirtualServer,
  VmError,
  type WebhookDeadLetter,
  type WebhookInfo,
  type WebhookWithSecret,
} from '@vmpulse/client';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { eventLine } from './event-sentence.ts';
import { ExitError, exitCodes } from './exit-code.ts';
import { addFilterFlags } from './filter-flags.ts';
import { parseHoldLength } from './hold.ts';
import { type Column, renderTable } from './table.ts';
import type { Terminal } from './terminal.ts';
import { clean, cleanLines, formatDuration, toJson } from './text.ts';

interface FilterFlags extends ConnectionFlags {
  type?: EventType[];
  vm?: string[];
  verdict?: ToldVerdict[];
}
interface SecretFlags {
  secret?: string;
  secretFile?: string;
}
interface CreateFlags extends FilterFlags, SecretFlags {
  timeout?: number;
  after?: number;
  caFile?: string;
}
interface TrustFlags extends ConnectionFlags {
  caFile?: string;
}
interface RotateFlags extends ConnectionFlags, SecretFlags {
  keepOld?: number;
}
interface LetterFlags extends ConnectionFlags {
  all?: boolean;
}

function describeState({ enabled, disabledReason, circuit, failuresInARow }: WebhookInfo): string {
  if (!enabled) return disabledReason === 'gone' ? 'disabled (410)' : 'disabled';
  if (circuit === 'open') return `failing (${failuresInARow} in a row)`;
  return failuresInARow > 0 ? 'retrying' : 'enabled';
}

const columns: Column<WebhookInfo>[] = [
  { head: 'NAME', cell: ({ name }) => name },
  { head: 'STATE', cell: describeState, color: ({ enabled }) => (enabled ? undefined : 'red') },
  { head: 'LAG', cell: ({ lag }) => String(lag), align: 'right' },
  { head: 'RETRYING', cell: ({ retrying }) => String(retrying), align: 'right' },
  { head: 'DEAD', cell: ({ deadLetters }) => String(deadLetters), align: 'right' },
  { head: 'URL', cell: ({ url }) => url, maxWidth: 80 },
];

const letterColumns: Column<WebhookDeadLetter>[] = [
  { head: 'SEQ', cell: ({ seq }) => String(seq), align: 'right' },
  { head: 'ATTEMPTS', cell: ({ attempts }) => String(attempts), align: 'right' },
  { head: 'SINCE', cell: ({ since }) => since },
  { head: 'ERROR', cell: ({ error }) => error, maxWidth: 60 },
  { head: 'EVENT', cell: ({ event }) => eventLine(event), maxWidth: 100 },
];

function describe(webhook: WebhookInfo): string {
  const { filter, lastAttempt: last } = webhook;
  const { types, machines, verdicts } = filter;
  const attempt = last === null ? 'none yet' : `${last.at}: ${last.error ?? `accepted (${last.status})`}`;
  const lost = webhook.deadLettersLost === 0 ? '' : ` (${webhook.deadLettersLost} more were lost)`;
  const rows: [string, string][] = [
    ['name', webhook.name],
    ['url', webhook.url],
    ['state', describeState(webhook)],
    ['types', types?.join(', ') ?? 'all'],
    ['machines', machines?.join(', ') ?? 'all'],
    ['verdicts', verdicts?.join(', ') ?? 'all'],
    ['timeout', formatDuration(webhook.timeoutMs)],
    ['cursor', `#${webhook.cursor}, ${webhook.lag} behind`],
    ['retrying', String(webhook.retrying)],
    ['dead letters', `${webhook.deadLetters}${lost}`],
    ['last attempt', attempt],
    ['next attempt', webhook.nextAttemptAt ?? '-'],
    ['old secret', webhook.oldSecretUntil === null ? '-' : `signs until ${webhook.oldSecretUntil}`],
    ['created', webhook.createdAt],
    ...webhook.caFingerprints.map((print): [string, string] => ['authority', `SHA-256 ${print}`]),
  ];
  return rows.map(([key, value]) => `${key.padEnd(13)} ${clean(value)}`).join('\n');
}

function tellSecret({ name, url, secret }: WebhookWithSecret): string {
  return [
    clean(`'${name}' tells ${url}`),
    `secret: ${clean(secret)}`,
    'Keep it now: it is not shown again, and whoever verifies the signatures needs it.',
  ].join('\n');
}

/** Errors: usage. */
function parseSeq(text: string): number {
  if (/^\d{1,15}$/u.test(text)) return Number(text);
  throw new InvalidArgumentError('Give the number of an event.');
}

const caHelp = "PEM file: check the endpoint's certificate against these authorities (default: the system's)";

/** Errors: E_FILE_NOT_FOUND. */
async function readText({ workingDirectory }: Terminal, file: string): Promise<string> {
  try {
    return await readFile(resolve(workingDirectory, file), 'utf8');
  } catch (cause) {
    throw new VmError('E_FILE_NOT_FOUND', `${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

/** A command line can be seen by every user of the host; a file need not be. */
function addSecretFlags(command: Command): Command {
  return command
    .option('--secret <secret>', 'whsec_ and 24 to 64 bytes in base64 (default: one is made)')
    .addOption(new Option('--secret-file <file>', 'file that holds the secret').conflicts('secret'));
}

/** Errors: E_FILE_NOT_FOUND. */
async function secretOf(
  terminal: Terminal,
  { secret, secretFile }: SecretFlags,
): Promise<{ secret?: string }> {
  if (secretFile !== undefined) return { secret: (await readText(terminal, secretFile)).trim() };
  return secret === undefined ? {} : { secret };
}

function filterOf({ type, vm, verdict }: FilterFlags): object {
  return {
    ...(type === undefined ? {} : { types: type }),
    ...(vm === undefined ? {} : { machines: vm }),
    ...(verdict === undefined ? {} : { verdicts: verdict }),
  };
}

type Act<Flags> = (server: VirtualServer, name: string, flags: Flags) => Promise<readonly [unknown, string]>;

/** A verb that names one webhook: does its work, then tells the value as JSON or the sentence. */
function addVerb<Flags extends ConnectionFlags>(
  command: Command,
  terminal: Terminal,
  example: string,
  act: Act<Flags>,
): void {
  addConnectionFlags(command, example).action(async (name: string) => {
    const flags = command.opts<Flags>();
    await withServer(flags, terminal, async (server) => {
      const [value, text] = await act(server, name, flags);
      await terminal.out(flags.json === true ? toJson(value, 2) : text);
    });
  });
}

function registerCreate(group: Command, terminal: Terminal): void {
  const plain = addFilterFlags(
    group
      .command('create <name> <url>')
      .description('tell events to an endpoint, signed by the Standard Webhooks specification'),
    'only with these verdicts; events without one need their --type',
  );
  const command = addSecretFlags(plain)
    .option('--timeout <length>', 'deadline of one attempt: 1s to 30s (default: 15s)', parseHoldLength)
    .option('--ca-file <file>', caHelp)
    .option('--after <seq>', 'also the events after this one (default: those from now on)', parseSeq);
  const example =
    'vmpulse webhook create pager https://example.org/hook --type heartbeatStopped heartbeatResumed';
  addConnectionFlags(command, example).action(async (name: string, url: string, flags: CreateFlags) => {
    const { timeout, after, caFile } = flags;
    const secret = await secretOf(terminal, flags);
    const caCertificate = caFile === undefined ? undefined : await readText(terminal, caFile);
    await withServer(flags, terminal, async (server) => {
      const created = await server.webhooks.create({
        name,
        url,
        ...filterOf(flags),
        ...(timeout === undefined ? {} : { timeoutMs: timeout * 1_000 }),
        ...secret,
        ...(after === undefined ? {} : { after }),
        ...(caCertificate === undefined ? {} : { caCertificate }),
      });
      await terminal.out(flags.json === true ? toJson(created, 2) : tellSecret(created));
    });
  });
}

function registerList(group: Command, terminal: Terminal): void {
  const command = group.command('list').description('every webhook, and how far it is behind');
  addConnectionFlags(command, 'vmpulse webhook list').action(async (flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const webhooks = await server.webhooks.list();
      if (flags.json === true) await terminal.out(toJson(webhooks, 2));
      else
        await terminal.out(
          webhooks.length === 0 ? 'No webhooks.' : renderTable(columns, webhooks, terminal.color),
        );
    });
  });
}

function registerTest(group: Command, terminal: Terminal): void {
  const command = group.command('test <name>').description('send a test event now, and tell what came back');
  addConnectionFlags(command, 'vmpulse webhook test pager').action(
    async (name: string, flags: ConnectionFlags) => {
      await withServer(flags, terminal, async (server) => {
        const test = await server.webhooks.test(name);
        const { accepted, status, tookMs, error, answer } = test;
        if (flags.json === true) await terminal.out(toJson(test, 2));
        else if (accepted) await terminal.out(`accepted with ${status} in ${formatDuration(tookMs)}`);
        if (flags.json !== true && answer !== '') await terminal.out(cleanLines(answer.trimEnd()));
        if (accepted) return;
        const detail = `not accepted after ${formatDuration(tookMs)}: ${error ?? ''}`;
        throw new ExitError(exitCodes.failed, new VmError('E_FAIL', detail), { quiet: flags.json === true });
      });
    },
  );
}

function registerVerbs(group: Command, terminal: Terminal): void {
  addVerb(
    group.command('show <name>').description('how a webhook is and what it waits for'),
    terminal,
    'vmpulse webhook show pager',
    async (server, name) => {
      const webhook = await server.webhooks.get(name);
      return [webhook, describe(webhook)];
    },
  );
  addVerb(
    group.command('delete <name>').description('forget a webhook, with its retries and dead letters'),
    terminal,
    'vmpulse webhook delete pager',
    async (server, name) => {
      await server.webhooks.delete(name);
      return [{ deleted: name }, clean(`'${name}' is deleted`)];
    },
  );
  for (const enabled of [true, false]) {
    const verb = enabled ? 'enable' : 'disable';
    const what = enabled
      ? 'go on where it stopped, and try what waits at once'
      : 'send nothing until enabled';
    addVerb(
      group.command(`${verb} <name>`).description(what),
      terminal,
      `vmpulse webhook ${verb} pager`,
      async (server, name) => {
        const webhook = await server.webhooks.change(name, { enabled });
        return [webhook, clean(`'${webhook.name}' is ${verb}d; it is ${webhook.lag} events behind`)];
      },
    );
  }
  addVerb<TrustFlags>(
    group
      .command('trust <name>')
      .description("check its endpoint's certificate against other authorities")
      .option('--ca-file <file>', caHelp),
    terminal,
    'vmpulse webhook trust pager --ca-file /etc/ssl/our-ca.pem',
    async (server, name, { caFile }) => {
      const caCertificate = caFile === undefined ? null : await readText(terminal, caFile);
      const webhook = await server.webhooks.change(name, { caCertificate });
      const whom = caCertificate === null ? 'those the system trusts' : `those of ${caFile}`;
      return [webhook, clean(`'${webhook.name}' checks certificates against ${whom}`)];
    },
  );
  addVerb<RotateFlags>(
    addSecretFlags(
      group
        .command('rotate <name>')
        .description('give it a new secret; the old one signs too for a time')
        .option('--keep-old <length>', 'how long: 0s to 7d (default: 1d)', parseHoldLength),
    ),
    terminal,
    'vmpulse webhook rotate pager --keep-old 2d',
    async (server, name, { keepOld, ...flags }) => {
      const rotated = await server.webhooks.rotate(name, {
        ...(keepOld === undefined ? {} : { keepOldSeconds: keepOld }),
        ...(await secretOf(terminal, flags)),
      });
      const until = rotated.oldSecretUntil;
      const old = until === null ? 'The old one signs no more.' : `The old one signs too until ${until}.`;
      return [rotated, `${tellSecret(rotated)}\n${old}`];
    },
  );
}

function registerDeadLetters(group: Command, terminal: Terminal): void {
  addVerb(
    group.command('dead-letters <name>').description('the events it did not take in all their attempts'),
    terminal,
    'vmpulse webhook dead-letters pager',
    async (server, name) => {
      const letters = await server.webhooks.deadLetters(name);
      const table = renderTable(letterColumns, letters, terminal.color);
      return [letters, letters.length === 0 ? 'No dead letters.' : table];
    },
  );
  const verbs = [
    { verb: 'replay', what: 'have dead letters tried again, from the first attempt', did: 'tried again' },
    { verb: 'drop', what: 'forget dead letters', did: 'dropped' },
  ] as const;
  for (const { verb, what, did } of verbs) {
    const command = group
      .command(`${verb} <name> [seq]`)
      .description(what)
      .option('--all', 'all dead letters of the webhook');
    addConnectionFlags(command, `vmpulse webhook ${verb} pager 1207\nvmpulse webhook ${verb} pager --all`);
    command.action(async (name: string, text: string | undefined, flags: LetterFlags) => {
      if ((flags.all === true) === (text !== undefined)) {
        throw new VmError('E_INVALIDARG', 'Name one event by its number, or all of them with --all.');
      }
      const seq = text === undefined ? undefined : parseSeq(text);
      await withServer(flags, terminal, async (server) => {
        const count = await server.webhooks[verb](name, seq);
        await terminal.out(flags.json === true ? toJson({ count }) : `${count} dead letters ${did}`);
      });
    });
  }
}

/** Adds the commands. */
export function registerWebhook(program: Command, terminal: Terminal): void {
  const group = program.command('webhook').description('tell events to HTTP endpoints');
  registerCreate(group, terminal);
  registerList(group, terminal);
  registerTest(group, terminal);
  registerVerbs(group, terminal);
  registerDeadLetters(group, terminal);
}
