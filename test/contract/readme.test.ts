import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as client from '@vmpulse/client';
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { ScriptedServer } from '../support/scripted-server.ts';

const readme = readFileSync(fileURLToPath(new URL('../../README.md', import.meta.url)), 'utf8');

/** The TypeScript of the README, as a program over what it imports. */
function program(): string {
  const [, code = ''] = /```ts\n([\s\S]*?)```/u.exec(readme) ?? [];
  return code.replace(/^import \{(.*)\} from '@vmpulse\/client';$/mu, 'const {$1} = client;');
}

test('the README’s example runs as it stands and is told of the stop', async () => {
  const scripted = await ScriptedServer.start();
  scripted.token = 'secret';
  scripted.addVm('web-1');
  const lines: string[] = [];
  const console = { log: (...words: unknown[]) => lines.push(words.join(' ')) };
  const code = program().replace('http://127.0.0.1:7410', scripted.url);
  expect(code).toContain('onHeartbeatStopped');
  // eslint-disable-next-line no-new-func, typescript/no-implied-eval -- the program is this project's own README
  const run = new Function('client', 'token', 'console', `return (async () => {${code}})()`) as (
    ...args: unknown[]
  ) => Promise<void>;
  const running = run(client, 'secret', console);
  await scripted.streaming();
  scripted.stopGuest('web-1');
  await eventually('both sinks to be told', () => {
    return lines.filter((line) => line === 'web-1 has stopped running').length === 2;
  });
  await eventually('the loop over events to see it', () => {
    return lines.some((line) => line.endsWith('io.vmpulse.heartbeatStopped'));
  });
  running.catch(() => undefined);
  await scripted.stop();
});
