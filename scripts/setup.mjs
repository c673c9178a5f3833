// Everything a fresh clone needs before it can run: OS programs, npm packages with the Node that the server
// needs, the build and the guest image. Steps that are done already cost next to nothing, so every
// start and every test run begins here. Plain JavaScript for Node 20 without packages.
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  chmodSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { alone } from './lock.mjs';
import { installPrograms, updateLists } from './os-packages.mjs';
import { elapsed, lastLines, step, StepError } from './progress.mjs';
import { run } from './process.mjs';

/** The checkout's folder. */
export const ROOT = realpathSync(fileURLToPath(new URL('..', import.meta.url)));
/** Where programs of npm packages are, the right `node` among them. */
export const BIN = join(ROOT, 'node_modules', '.bin');
/** The command line's entry, once built. */
export const CLI = join(ROOT, 'packages', 'server', 'dist', 'cli', 'main.js');

const CACHE = join(ROOT, '.cache');
const STAMP = join(ROOT, 'node_modules', '.vmpulse-lock-hash');
const SERVER_NODE_MAJOR = 24;
const OWN_NODE_MAJOR = 20;
const LOCK_DEADLINE_MS = 45 * 60_000;
const INSTALL_DEADLINE_MS = 15 * 60_000;
const BUILD_DEADLINE_MS = 15 * 60_000;
const IMAGE_DEADLINE_MS = 20 * 60_000;

/**
 * The Node that runs the server: the checkout's own, or this one where it is new enough.
 * @returns {string}  path of the program
 * @throws {StepError} when neither is there
 */
export function serverNode() {
  const own = join(BIN, 'node');
  if (existsSync(own)) return own;
  if (Number.parseInt(process.versions.node, 10) >= SERVER_NODE_MAJOR && existsSync(process.execPath)) {
    return process.execPath;
  }
  throw new StepError(
    `npm brought no Node ${SERVER_NODE_MAJOR} for ${process.platform}-${process.arch}: ` +
      `install Node ${SERVER_NODE_MAJOR} or newer and try again`,
  );
}

/** The environment in which `node` and the packages' programs are the checkout's. */
export function environment() {
  return { ...process.env, PATH: `${BIN}${delimiter}${process.env['PATH'] ?? ''}` };
}

/** The environment without the checkout's programs: `npm ci` deletes them while it runs. */
function outerEnvironment() {
  const path = (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((folder) => !folder.includes('node_modules'));
  return { ...process.env, PATH: path.join(delimiter) };
}

function lockHash() {
  const hash = createHash('sha256');
  return hash
    .update(readFileSync(join(ROOT, 'package-lock.json')))
    .update(`${process.platform}-${process.arch}`)
    .digest('hex');
}

function isInstalled() {
  try {
    return readFileSync(STAMP, 'utf8') === lockHash();
  } catch {
    return false;
  }
}

/** @param {string} what @param {Awaited<ReturnType<typeof run>>} result @param {string} advice */
function check(what, result, advice) {
  if (result.code === 0) return;
  const why = result.timedOut ? 'took too long and was ended' : `failed with code ${result.code}`;
  throw new StepError(`${what} ${why}: ${advice}`, lastLines(result.tail, 25));
}

/** @param {string} logFile */
async function installPackages(logFile) {
  if (isInstalled()) return;
  await step('npm packages', async (show) => {
    const options = {
      deadlineMs: INSTALL_DEADLINE_MS,
      cwd: ROOT,
      logFile,
      onLine: show,
      env: outerEnvironment(),
    };
    // npm itself reads NODE_ENV and omits what the build needs when it says production.
    const args = ['ci', '--no-audit', '--no-fund', '--include=dev', '--include=optional'];
    const result = await run('npm', args, options);
    const network = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH/.test(result.tail);
    check(
      'npm ci',
      result,
      network ? 'npm cannot reach its registry; connect and try again' : `see ${logFile}`,
    );
    writeFileSync(STAMP, lockHash());
  });
}

/** @param {string} logFile */
async function build(logFile) {
  await step('build', async (show) => {
    const options = { deadlineMs: BUILD_DEADLINE_MS, cwd: ROOT, logFile, onLine: show, env: environment() };
    const result = await run(serverNode(), [join(BIN, 'tsc'), '-b', 'packages/server'], options);
    check('the build', result, 'put right what the compiler says');
  });
  if (!existsSync(CLI)) throw new StepError(`the build made no ${CLI}: delete packages/*/dist and try again`);
  // npm links a workspace's program only when it exists at installation, and then it was not built yet.
  chmodSync(CLI, 0o755);
  const link = join(BIN, 'vmpulse');
  if (!existsSync(link)) {
    rmSync(link, { force: true });
    symlinkSync(join('..', '..', 'packages', 'server', 'dist', 'cli', 'main.js'), link);
  }
}

/** @param {string} logFile @returns {Promise<string>}  the image's folder */
async function buildImage(logFile) {
  const attempt = () =>
    step('guest image', (show) =>
      run('sh', ['images/build.sh'], {
        deadlineMs: IMAGE_DEADLINE_MS,
        cwd: ROOT,
        logFile,
        onLine: show,
        env: environment(),
      }),
    );
  let result = await attempt();
  // Lists from long ago name packages that the mirror no longer has.
  if (result.code !== 0 && !result.timedOut && (await updateLists({ folder: ROOT, logFile })))
    result = await attempt();
  check('images/build.sh', result, `see ${logFile}`);
  return result.stdout.trimEnd().split('\n').at(-1) ?? '';
}

/**
 * Brings the checkout to where it can run, and says what it does.
 * @param {{image?: boolean}} [wanted]  `image: false` leaves out the guest image and the programs it needs
 * @returns {Promise<{image: string}>}  the guest image's folder, empty when left out
 * @throws {StepError} saying what to do
 */
export async function setup(wanted = {}) {
  const since = performance.now();
  if (Number.parseInt(process.versions.node, 10) < OWN_NODE_MAJOR) {
    throw new StepError(
      `this is Node ${process.versions.node}: install Node ${OWN_NODE_MAJOR} or newer and try again`,
    );
  }
  mkdirSync(CACHE, { recursive: true });
  const logFile = join(CACHE, 'setup.log');
  const onWait = (/** @type {string} */ pid) =>
    console.log(`  … waiting for another set-up (process ${pid || '?'})`);
  const image = await alone(ROOT, LOCK_DEADLINE_MS, onWait, async () => {
    writeFileSync(logFile, '');
    if (wanted.image !== false) await installPrograms({ folder: ROOT, logFile });
    await installPackages(logFile);
    await build(logFile);
    return wanted.image === false ? '' : buildImage(logFile);
  });
  console.log(`  ✓ set-up complete  ${elapsed(since)}`);
  return { image };
}

/**
 * Shows why a script cannot go on, in words rather than a stack where it is a step's failure.
 * @param {unknown} error
 */
export function explain(error) {
  if (!(error instanceof StepError)) return console.error(error);
  if (error.output !== '') console.error(`\n${error.output.replace(/^/gm, '    ')}\n`);
  console.error(`vmpulse set-up: ${error.message}`);
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    await setup();
  } catch (error) {
    explain(error);
    process.exitCode = 1;
  }
}
