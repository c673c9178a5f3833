/** The confusion matrix: what all rounds of a campaign came to, as Markdown. */
import type { Outcome, Result } from './judgement.ts';
import { expectsStop, type FaultKind } from './kind.ts';

/** What stands above and below the table. */
export interface Circumstances {
  /** The command that ran it. */
  readonly command: string;
  /** `2026-01-31`. */
  readonly date: string;
  /** Versions and the like, in words. */
  readonly versions: readonly string[];
  readonly tookMs: number;
  /** Rounds that were to be played. */
  readonly planned: number;
  /** Events whose number did not follow that of the one before. */
  readonly misnumbered: number;
  /** Services side by side. */
  readonly lanes: number;
}

const columns = [
  'kind',
  'must be told',
  'rounds',
  'right',
  'late',
  'verdict wrong',
  'missed',
  'told though not stopped',
  'not set up',
  'told as',
  'p50 / max, ms',
  'bound, ms',
];

/** The whole section. Kinds without a round are left out. */
export function renderMatrix(
  kinds: readonly FaultKind[],
  results: readonly Result[],
  about: Circumstances,
): string {
  const played = kinds.filter(({ name }) => results.some(({ kind }) => kind === name));
  const table = [
    row(columns),
    row(columns.map(() => '---')),
    ...played.map((kind) => row(cellsOf(kind, ofKind(results, kind)))),
  ];
  return [
    ...headOf(played.length, results, about),
    '',
    ...table,
    '',
    ...totalsOf(played, results, about),
    ...faultsOf(played, results),
    '',
    'What is done, kind by kind:',
    '',
    ...played.map(({ name, what }) => `- \`${name}\`: ${what}`),
  ].join('\n');
}

function headOf(kinds: number, results: readonly Result[], about: Circumstances): string[] {
  const partial = results.length < about.planned;
  const extent = partial
    ? `**Partial**: ${results.length} of ${about.planned} rounds were played before it was ended.`
    : `${kinds} kinds, ${results.length} rounds.`;
  return [
    `\`${about.command}\` on ${about.date}: ${extent} It took ${Math.round(about.tookMs / 60_000)} min, with ` +
      `${about.lanes} services side by side, each with one guest at a time. ${about.versions.join(', ')}.`,
    '',
    'Delays count from the fault or, for what silence tells, from the last tick before it, to the sink of a client of',
    'the HTTP stream. Each round is a machine of its own, restored from the saved state of a guest that had booted.',
  ];
}

function cellsOf(kind: FaultKind, results: readonly Result[]): string[] {
  const { expected } = kind;
  const count = (outcome: Outcome): string => {
    const number = results.filter((result) => result.outcome === outcome).length;
    return number === 0 && outcome !== 'false' ? '' : String(number);
  };
  const delays = results.flatMap(({ delayMs }) => (delayMs === null ? [] : [delayMs]));
  const from = expectsStop(expected) ? expected.from : 'fault';
  const bound = expected.boundMs === undefined ? '' : `${group(expected.boundMs)} (${from})`;
  return [
    `\`${kind.name}\``,
    mustBeTold(expected),
    String(results.length),
    count('right'),
    count('late'),
    count('wrong'),
    count('missed'),
    count('false'),
    count('notSetUp'),
    toldAs(results),
    delays.length === 0 ? '' : `${group(percentile(delays, 0.5))} / ${group(Math.max(...delays))}`,
    bound,
  ];
}

function mustBeTold(expected: FaultKind['expected']): string {
  if (expectsStop(expected)) return `**stopped**: ${expected.verdicts.join(' or ')}`;
  const { told, verdict, optional } = expected;
  if (told === null) return 'nothing';
  return `${told}${verdict === undefined ? '' : ` (${verdict})`}${optional === true ? ' or nothing' : ''}`;
}

/** `hung 19, busy 1`, most frequent first. */
function toldAs(results: readonly Result[]): string {
  const counts = new Map<string, number>();
  for (const { told, outcome } of results) {
    if (outcome !== 'notSetUp') counts.set(told, (counts.get(told) ?? 0) + 1);
  }
  return [...counts]
    .toSorted((a, b) => b[1] - a[1])
    .map(([told, number]) => `${told} ${number}`)
    .join(', ');
}

function totalsOf(kinds: readonly FaultKind[], results: readonly Result[], about: Circumstances): string[] {
  const stops = kinds.filter(({ expected }) => expectsStop(expected)).map(({ name }) => name);
  const [ofStops, ofOthers] = [true, false].map((stopped) =>
    results.filter(({ kind, outcome }) => stops.includes(kind) === stopped && outcome !== 'notSetUp'),
  ) as [Result[], Result[]];
  const count = (list: readonly Result[], outcome: Outcome): number =>
    list.filter((result) => result.outcome === outcome).length;
  return [
    row(['in all', 'rounds', 'right', 'late', 'verdict wrong', 'missed', 'told though not stopped']),
    row(Array.from({ length: 7 }, () => '---')),
    ...(
      [
        ['stops', ofStops],
        ['no stops', ofOthers],
      ] as const
    ).map(([name, list]) =>
      row([
        name,
        String(list.length),
        ...(['right', 'late', 'wrong', 'missed', 'false'] as const).map((outcome) =>
          String(count(list, outcome)),
        ),
      ]),
    ),
    '',
    `Rounds that could not be set up: ${results.length - ofStops.length - ofOthers.length}. ` +
      `Events lost or doubled on the way to the clients: ${about.misnumbered}.`,
  ];
}

/** One line for each way in which a kind was not right. */
function faultsOf(kinds: readonly FaultKind[], results: readonly Result[]): string[] {
  const lines = kinds.flatMap((kind) => {
    const bad = ofKind(results, kind).filter(({ outcome }) => outcome !== 'right');
    const outcomes = [...new Set(bad.map(({ outcome }) => outcome))];
    return outcomes.map((outcome) => {
      const such = bad.filter((result) => result.outcome === outcome);
      const reasons = [...new Set(such.map(({ reason }) => short(reason ?? '')))];
      const more = reasons.length > 3 ? ', ...' : '';
      return `- \`${kind.name}\`, ${outcomeWords[outcome]} ${such.length}: ${reasons.slice(0, 3).join('; ')}${more}`;
    });
  });
  return lines.length === 0 ? [] : ['', 'What was not right:', '', ...lines];
}

const outcomeWords: Readonly<Record<Outcome, string>> = {
  right: 'right',
  late: 'late',
  wrong: 'wrong',
  missed: 'missed',
  false: 'told though not stopped',
  notSetUp: 'not set up',
};

function ofKind(results: readonly Result[], { name }: FaultKind): Result[] {
  return results.filter(({ kind }) => kind === name);
}

/** Nearest-rank percentile. */
function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

function group(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

function short(text: string): string {
  const line = text.replaceAll(/\s+/gu, ' ').replaceAll('|', '/');
  return line.length > 160 ? `${line.slice(0, 160)}...` : line;
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

const begin = '<!-- campaign:begin -->';
const end = '<!-- campaign:end -->';

/** `document` with the section between its markers, which are added at its end where they are not there. */
export function withMatrix(document: string, section: string): string {
  const [from, to] = [document.indexOf(begin), document.indexOf(end)];
  const body = `${begin}\n\n${section}\n\n${end}`;
  if (from === -1 || to < from) {
    return `${document.trimEnd()}\n\n## Campaign on real guests\n\n${body}\n`;
  }
  return `${document.slice(0, from)}${body}${document.slice(to + end.length)}`;
}
