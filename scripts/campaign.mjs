// `npm run campaign`: sets up what is missing and plays the campaign on real guests; see test/e2e/campaign/run.ts.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { environment, explain, ROOT, serverNode, setup } from './setup.mjs';

try {
  const { image } = await setup({ image: true });
  const child = spawn(
    serverNode(),
    [join(ROOT, 'test', 'e2e', 'campaign', 'run.ts'), ...process.argv.slice(2)],
    { cwd: ROOT, env: { ...environment(), VMPULSE_GUEST_IMAGE: image }, stdio: 'inherit' },
  );
  // The terminal sends Ctrl-C to both: the campaign ends its guests and writes what it has, and this waits for it.
  process.on('SIGINT', () => undefined);
  for (const signal of /** @type {const} */ (['SIGTERM', 'SIGHUP'])) {
    process.on(signal, () => child.kill(signal));
  }
  child.once('exit', (code) => {
    process.exitCode = code ?? 1;
  });
} catch (error) {
  explain(error);
  process.exitCode = 1;
}
