/** Runs one seed again and prints the timeline of whom it went wrong for. */
import { hardTimes } from './hard-times.ts';
import { runSeed } from './run.ts';

/** Lines kept of one guest. */
const keptLines = 60;

/** True when the run was without failures. `guest`: print this one's whole timeline. `hard`: in hard times. */
export async function replay(seed: number, guest: string | undefined, hard: boolean): Promise<boolean> {
  const lines = new Map<string, string[]>();
  const trace = (atMs: number, name: string, text: string): void => {
    const line = `${(atMs / 1_000).toFixed(3).padStart(10)}  ${name.padEnd(10)} ${text}`;
    if (guest !== undefined) {
      if (name === guest || name === '') console.log(line);
      return;
    }
    const names = name === '' ? [...lines.keys()] : [name];
    for (const each of names) {
      const list = lines.get(each) ?? [];
      list.push(line);
      if (list.length > keptLines) list.shift();
      lines.set(each, list);
    }
    if (!text.startsWith('FAILURE')) return;
    console.log(name === '' ? line : (lines.get(name) ?? []).join('\n'));
    console.log('');
    lines.set(name, []);
  };
  const { checks, events, failures } = await runSeed(seed, {
    trace,
    ...(hard ? { trial: hardTimes(seed) } : {}),
  });
  console.log(`seed ${seed}: ${checks} checks, ${events} events, ${failures.length} failures`);
  return failures.length === 0;
}
