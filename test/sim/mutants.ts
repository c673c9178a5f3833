/** Plants each known bug in a copy of the sources, and shows by which of the oracle's rules it is seen. */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Mutation, mutations } from './mutations.ts';

/** Seeds tried on one bug at most. */
const maxSeeds = 12;
/** A bug that makes the service run in circles is seen by that, too. */
const deadlineMs = 240_000;

interface Outcome {
  readonly caught: boolean;
  /** `rule: text` of the first failure, or why it could not be tried. */
  readonly how: string;
  readonly checks: number;
  /** Seeds that it took. */
  readonly seeds: number;
}

/** The sources in a folder of their own. */
function copySources(root: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'vmpulse-mutant-'));
  for (const path of ['packages/server/src', 'packages/server/package.json', 'package.json', 'test/sim']) {
    cpSync(join(root, path), join(folder, path), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

/** What of a mutation does not fit the sources any more: each text must be there exactly once. */
export function checkMutation(root: string, { name, edits }: Mutation): string[] {
  return edits.flatMap(({ file, find }) => {
    const times = readFileSync(join(root, 'packages/server/src', file), 'utf8').split(find).length - 1;
    return times === 1 ? [] : [`${name}: ${file} has ${times} times '${find}'; write the mutation anew`];
  });
}

function applyMutation(root: string, mutation: Mutation): void {
  const [misfit] = checkMutation(root, mutation);
  if (misfit !== undefined) throw new Error(misfit);
  for (const { file, find, put } of mutation.edits) {
    const path = join(root, 'packages/server/src', file);
    writeFileSync(path, readFileSync(path, 'utf8').split(find).join(put));
  }
}

/** Tries the sources in `folder` until a seed fails. */
function attempt(folder: string, { trial }: Mutation, seeds: number): Promise<Outcome> {
  const args = [join(folder, 'test/sim/trial.ts'), JSON.stringify({ trial, maxSeeds: seeds })];
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let errors = '';
    child.stdout.on('data', (data: Buffer) => {
      output += data.toString();
    });
    child.stderr.on('data', (data: Buffer) => {
      errors += data.toString();
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), deadlineMs);
    child.on('close', () => {
      clearTimeout(timer);
      try {
        resolve(JSON.parse(output) as Outcome);
      } catch {
        resolve({ caught: false, how: `the trial broke: ${errors.slice(0, 300)}`, checks: 0, seeds: 0 });
      }
    });
  });
}

async function plant(root: string, mutation: Mutation): Promise<Outcome> {
  const folder = copySources(root);
  try {
    applyMutation(folder, mutation);
    return await attempt(folder, mutation, maxSeeds);
  } catch (error) {
    return {
      caught: false,
      how: error instanceof Error ? error.message : String(error),
      checks: 0,
      seeds: 0,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One bug and, on the same seeds, the sources without it: only what those pass was seen because of the bug. */
async function judge(
  root: string,
  sound: string,
  mutation: Mutation,
): Promise<{ right: boolean; line: string }> {
  const outcome = await plant(root, mutation);
  const control = outcome.caught ? await attempt(sound, mutation, outcome.seeds) : null;
  const right = outcome.caught && control?.caught === false;
  const verdict = right ? 'seen' : control === null ? 'SURVIVED' : 'UNCLEAR';
  const how = control?.caught === true ? `without the bug too: ${control.how}` : outcome.how;
  const line = `${verdict.padEnd(9)}${mutation.name.padEnd(56)}${String(outcome.checks).padStart(9)} checks  ${how}`;
  return { right, line };
}

/** Plants them all (or those whose name has `only` in it). True when each was seen. */
export async function runMutants(root: string, jobs: number, only: string | undefined): Promise<boolean> {
  const waiting = mutations.filter(({ name }) => only === undefined || name.includes(only));
  const count = waiting.length;
  const sound = copySources(root);
  let seen = 0;
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { right, line } = await judge(root, sound, next);
      if (right) seen += 1;
      console.log(line);
    }
  };
  try {
    await Promise.all(Array.from({ length: jobs }, work));
  } finally {
    rmSync(sound, { recursive: true, force: true });
  }
  console.log(`${count} planted bugs, ${seen} seen`);
  return seen === count;
}
