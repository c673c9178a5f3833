// `npm run sim`: sets up what is missing and runs the simulation; test/sim/main.ts has its options.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { environment, explain, ROOT, serverNode, setup } from './setup.mjs';

try {
  await setup({ image: false });
  const args = [join(ROOT, 'test', 'sim', 'main.ts'), ...process.argv.slice(2)];
  const child = spawn(serverNode(), args, { cwd: ROOT, env: environment(), stdio: 'inherit' });
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(signal, () => child.kill(signal));
  }
  child.once('exit', (code) => {
    process.exitCode = code ?? 1;
  });
} catch (error) {
  explain(error);
  process.exitCode = 1;
}
