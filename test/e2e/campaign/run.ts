/**
 * `npm run campaign -- [--rounds 20] [--kinds hang,panic] [--parallel 4] [--minutes 60] [--no-write]`: plays the
 * campaign and writes its confusion matrix to docs/benchmarks.md. Ctrl-C ends it; what was played is written.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { allKinds, runCampaign } from './campaign.ts';
import type { Result } from './judgement.ts';
import type { FaultKind } from './kind.ts';
import { renderMatrix, withMatrix } from './matrix.ts';

const document = fileURLToPath(new URL('../../../docs/benchmarks.md', import.meta.url));

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20' },
    kinds: { type: 'string' },
    parallel: { type: 'string', default: '4' },
    /** No round begins after so many minutes; the matrix then says that it is partial. */
    minutes: { type: 'string' },
    /** Shows the matrix, and leaves the document as it is. */
    'no-write': { type: 'boolean', default: false },
  },
});

function count(name: string, text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 1 && number <= 1_000) return number;
  throw new Error(`--${name} takes a whole number from 1 to 1000, not '${text}'`);
}

function chosenKinds(list: string | undefined): readonly FaultKind[] {
  if (list === undefined) return allKinds;
  return list.split(',').map((name) => {
    const kind = allKinds.find((each) => each.name === name);
    if (kind !== undefined) return kind;
    throw new Error(`there is no kind '${name}'; there are ${allKinds.map((each) => each.name).join(', ')}`);
  });
}

function versions(): string[] {
  const image = process.env['VMPULSE_GUEST_IMAGE'] ?? '';
  const { kernelVersion } = JSON.parse(readFileSync(join(image, 'image.json'), 'utf8')) as {
    kernelVersion?: string;
  };
  const qemu = execFileSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' });
  return [
    `QEMU ${/version (\S+)/u.exec(qemu)?.[1] ?? '?'}`,
    `guest kernel ${kernelVersion ?? '?'}`,
    `host kernel ${release()}`,
    `${cpus().length} processors`,
    `${Math.round(totalmem() / 2 ** 30)} GiB`,
    `Node ${process.versions.node}`,
  ];
}

function say(result: Result, tookMs: number, done: number, planned: number): void {
  const { kind, outcome, told, delayMs, reason, event } = result;
  const delay = delayMs === null ? '' : `  ${Math.round(delayMs)} ms`;
  const seconds = (tookMs / 1_000).toFixed(1);
  console.log(`${done}/${planned}  ${kind.padEnd(22)} ${outcome.padEnd(9)} ${told}${delay}  (${seconds} s)`);
  if (outcome !== 'right') console.log(`    ${reason ?? ''}\n    ${JSON.stringify(event ?? null)}`);
}

const kinds = chosenKinds(values.kinds);
const rounds = count('rounds', values.rounds);
const parallel = count('parallel', values.parallel);
const planned = kinds.length * rounds;
const ending = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => ending.abort());
}
const chosen = values.kinds === undefined ? '' : ` --kinds ${values.kinds}`;
const beganMs = performance.now();
let done = 0;
let accelerator = 'not known';
const { results, misnumbered } = await runCampaign({
  kinds,
  rounds,
  parallel,
  signal: ending.signal,
  ...(values.minutes === undefined ? {} : { lastMs: count('minutes', values.minutes) * 60_000 }),
  onAccelerator: (name) => {
    accelerator = name;
  },
  onResult: (result, tookMs) => {
    done += 1;
    say(result, tookMs, done, planned);
  },
});
const section = renderMatrix(kinds, results, {
  command: `npm run campaign -- --rounds ${rounds} --parallel ${parallel}${chosen}`,
  date: new Date().toISOString().slice(0, 10),
  versions: [`accelerator ${accelerator}`, ...versions()],
  tookMs: performance.now() - beganMs,
  planned,
  misnumbered,
  lanes: parallel,
});
if (values['no-write'] || results.length === 0) console.log(section);
else {
  writeFileSync(document, withMatrix(readFileSync(document, 'utf8'), section));
  console.log(`written to ${document}`);
}
const isGood = results.length === planned && results.every(({ outcome }) => outcome === 'right');
process.exit(ending.signal.aborted ? 130 : isGood ? 0 : 1);
