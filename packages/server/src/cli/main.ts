#!/usr/bin/env node
/** The command line's entry. */
import { createRequire, enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';
import { type Registration, runProgram } from './program.ts';
import { processTerminal } from './terminal.ts';

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };

async function loadService(): Promise<Registration[]> {
  const [{ registerServe }, { registerDemo }] = await Promise.all([
    import('./serve.ts'),
    import('./demo.ts'),
  ]);
  return [registerServe, registerDemo];
}

// Compiling some hundred modules is a good part of a start; the second one finds them compiled. Not in /tmp, where
// somebody else could leave what this process would then run.
enableCompileCache(fileURLToPath(new URL('../../.cache', import.meta.url)));
const exitCode = await runProgram(process.argv.slice(2), processTerminal(), version, loadService);
// What failed may have left something running that would hold the process; a success has said its code itself.
if (exitCode !== 0) process.exit(exitCode);
