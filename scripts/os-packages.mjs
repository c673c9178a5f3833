// The programs that running and building guests needs, and their installation on Debian and Ubuntu.
import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { lastLines, step, StepError } from './progress.mjs';
import { run } from './process.mjs';

/** What each program is in, by Debian's names. */
const PROGRAMS = [
  { program: 'qemu-system-x86_64', package: 'qemu-system-x86' },
  { program: 'qemu-img', package: 'qemu-utils' },
  { program: 'busybox', package: 'busybox-static' },
  { program: 'cpio', package: 'cpio' },
  { program: 'xz', package: 'xz-utils' },
  { program: 'zstd', package: 'zstd' },
];
const LISTS = '/var/lib/apt/lists';
const UPDATE_DEADLINE_MS = 5 * 60_000;
const INSTALL_DEADLINE_MS = 20 * 60_000;
const PROBE_DEADLINE_MS = 5_000;

/** @param {string} program @returns {boolean} */
function isOnPath(program) {
  const folders = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    '/usr/local/bin',
    '/usr/bin',
    '/bin',
    '/usr/sbin',
  ];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** @param {string} name @returns {boolean} */
function isInstalled(name) {
  try {
    const status = execFileSync('dpkg-query', ['-W', '-f', '${db:Status-Status}', name], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: PROBE_DEADLINE_MS,
    });
    return status === 'installed';
  } catch {
    return false;
  }
}

const hasApt = () => existsSync('/usr/bin/apt-get') && existsSync('/usr/bin/dpkg-query');

/** @returns {{program: string, package: string}[]} */
function missing() {
  return PROGRAMS.filter((need) => {
    if (!isOnPath(need.program)) return true;
    // A busybox that needs shared libraries has the same name and does not run inside the guest.
    return need.program === 'busybox' && hasApt() && !isInstalled(need.package);
  });
}

/** @returns {string[] | undefined}  what to put before a command to run it as root; undefined: no way */
function asRoot() {
  if (process.getuid?.() === 0) return [];
  try {
    execFileSync('sudo', ['-n', 'true'], { stdio: 'ignore', timeout: PROBE_DEADLINE_MS });
    return ['sudo', '-n'];
  } catch {
    return undefined;
  }
}

/**
 * @param {string[]} root @param {string[]} args @param {number} deadlineMs
 * @param {{folder: string, logFile: string, show: (line: string) => void, otherwise: string}} context
 */
async function apt(root, args, deadlineMs, context) {
  // `env` rather than this process's environment: sudo passes none on.
  const words = [
    ...root,
    'env',
    'DEBIAN_FRONTEND=noninteractive',
    'apt-get',
    '-o',
    'DPkg::Lock::Timeout=300',
    ...args,
  ];
  const { code, tail, timedOut } = await run(words[0] ?? '', words.slice(1), {
    deadlineMs,
    cwd: context.folder,
    logFile: context.logFile,
    onLine: context.show,
  });
  if (code === 0) return;
  const why = timedOut ? `did not end in ${deadlineMs / 60_000} minutes` : `failed with code ${code}`;
  const network = /Could not resolve|Temporary failure|Could not connect|Network is unreachable/.test(tail);
  throw new StepError(
    `apt-get ${args[0]} ${why}${network ? ' because the network cannot be reached' : ''}: ${context.otherwise}`,
    lastLines(tail, 15),
  );
}

/** Whether apt knows any package at all: on a fresh container it does not until its first update. */
function hasLists() {
  try {
    return readdirSync(LISTS).some((name) => /_Packages(\.\w+)?$/.test(name));
  } catch {
    return false;
  }
}

/**
 * Fetches apt's lists of packages.
 * @param {{folder: string, logFile: string}} place
 * @param {string} [otherwise]  what to do when it fails
 * @returns {Promise<boolean>}  false when this user may not, or there is no apt
 */
export async function updateLists(
  place,
  otherwise = 'connect this machine to its package mirror and try again',
) {
  const root = hasApt() ? asRoot() : undefined;
  if (root === undefined) return false;
  await step('package lists', (show) =>
    apt(root, ['update', '-o', 'APT::Update::Error-Mode=any'], UPDATE_DEADLINE_MS, {
      ...place,
      show,
      otherwise,
    }),
  );
  return true;
}

/**
 * Installs what is missing of the programs that guests need, where it may.
 * @param {{folder: string, logFile: string}} place
 * @throws {StepError} when something is missing that it may not or cannot install; says the exact command
 */
export async function installPrograms(place) {
  const needs = missing();
  if (needs.length === 0) {
    if (hasApt() && !hasLists()) await updateLists(place);
    return;
  }
  const names = needs.map((need) => need.package).join(' ');
  if (!hasApt()) {
    const programs = needs
      .map((need) => (need.program === 'busybox' ? 'busybox (static)' : need.program))
      .join(', ');
    throw new StepError(
      `these programs are missing: ${programs}. Install them with this system's package manager.`,
    );
  }
  const command = `apt-get update && apt-get install -y --no-install-recommends ${names}`;
  const root = asRoot();
  if (root === undefined) {
    throw new StepError(`Debian packages are missing: ${names}. Run: sudo sh -c '${command}'`);
  }
  const otherwise = `put that right and try again, or run as root: ${command}`;
  await updateLists(place, otherwise);
  await step(`Debian packages: ${names}`, (show) =>
    apt(root, ['install', '-y', '--no-install-recommends', ...names.split(' ')], INSTALL_DEADLINE_MS, {
      ...place,
      show,
      otherwise,
    }),
  );
  const still = missing();
  if (still.length > 0) {
    throw new StepError(
      `still missing after the installation: ${still.map((need) => need.program).join(', ')}`,
    );
  }
}
