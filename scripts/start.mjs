// `npm start`: sets up what is missing, then runs the demo (or, with arguments, hands them to it).
import { spawn } from 'node:child_process';
import { exitCode } from './process.mjs';
import { CLI, environment, explain, ROOT, serverNode, setup } from './setup.mjs';

/** @param {string} image @returns {Promise<number>} */
function demo(image) {
  return new Promise((resolve) => {
    const child = spawn(serverNode(), [CLI, 'demo', ...process.argv.slice(2)], {
      cwd: ROOT,
      stdio: 'inherit',
      env: { ...environment(), VMPULSE_GUEST_IMAGE: image },
    });
    // A terminal's Ctrl-C reaches the child by itself; twice would mean "now".
    process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'));
    process.on('SIGTERM', () => child.kill('SIGTERM'));
    process.on('SIGHUP', () => child.kill('SIGHUP'));
    child.once('error', (error) => {
      console.error(`vmpulse: cannot start ${serverNode()}: ${error.message}`);
      resolve(1);
    });
    child.once('exit', (code, signal) => resolve(code ?? exitCode(signal)));
  });
}

try {
  const { image } = await setup();
  process.exitCode = await demo(image);
} catch (error) {
  explain(error);
  process.exitCode = 1;
}
