// `npm test`: sets up what is missing, checks the sources, runs every test, and ends with one line that counts.
//
//   npm test                      everything
//   npm test -- --unit            one suite (--unit, --sim, --e2e; several may be given), without the checks
//   npm test -- store/log         only test files whose path has this in it; other options go to vitest
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { elapsed } from './progress.mjs';
import { run } from './process.mjs';
import { BIN, environment, explain, ROOT, serverNode, setup } from './setup.mjs';

const MINUTE_MS = 60_000;
const CHECK_DEADLINE_MS = 15 * MINUTE_MS;
/** Of the whole run with its set-up: a machine that checks changes gives 90 minutes, and the summary is to be seen. */
const RUN_DEADLINE_MS = 84 * MINUTE_MS;
const SUITES = ['unit', 'sim', 'e2e'];
const CHECKS = [
  { name: 'build', program: 'tsc', args: ['-b'] },
  { name: 'lint', program: 'oxlint', args: ['--type-aware', '--deny-warnings'] },
  { name: 'format', program: 'oxfmt', args: ['--check'] },
  { name: 'knip', program: 'knip', args: [] },
];

/**
 * What a vitest run counted, and what failed by name. A file that could not be loaded, and a run that failed
 * without naming a test, count as one failure each: they must not look like success.
 * @param {string} file @param {number} code
 */
function count(file, code) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  /** @type {string[]} */
  const failed = [];
  try {
    /**
     * @typedef {{status: string, fullName: string, failureMessages?: string[]}} Test
     * @type {{testResults: {name: string, status: string, message: string, assertionResults: Test[]}[]}}
     */
    const report = JSON.parse(readFileSync(file, 'utf8'));
    for (const suite of report.testResults) {
      const failures = suite.assertionResults.filter((test) => test.status === 'failed');
      for (const { fullName, failureMessages } of failures)
        failed.push(inShort(fullName, failureMessages?.[0]));
      total.passed += suite.assertionResults.filter((test) => test.status === 'passed').length;
      total.failed += failures.length;
      total.skipped += suite.assertionResults.filter(
        (test) => !['passed', 'failed'].includes(test.status),
      ).length;
      if (suite.status === 'failed' && failures.length === 0) {
        failed.push(inShort(suite.name, suite.message));
        total.failed += 1;
      }
    }
  } catch (error) {
    console.error(`vitest left no report: ${String(error)}`);
  }
  if (code !== 0 && total.failed === 0) total.failed = 1;
  return { ...total, names: failed };
}

/** One line of what failed, for the summary. @param {string} name @param {string | undefined} message */
function inShort(name, message) {
  const why = stripVTControlCharacters(message ?? '').split('\n')[0] ?? '';
  return `  failed: ${name}: ${why.slice(0, 300)}`;
}

/**
 * @param {string} image @param {string[]} suites @param {string[]} passedOn @param {boolean} withChecks
 * @param {number} endMs when the last suite ends at the latest, on this process's clock
 */
async function runAll(image, suites, passedOn, withChecks, endMs) {
  const summary = [];
  const total = { passed: 0, failed: 0, skipped: 0 };
  const env = { ...environment(), VMPULSE_GUEST_IMAGE: image };
  const folder = mkdtempSync(join(tmpdir(), 'vmpulse-test-'));
  let broken = false;
  /** @param {string} name @param {string} program @param {string[]} args @param {number} deadlineMs */
  const perform = async (name, program, args, deadlineMs) => {
    console.log(`\n── ${name}`);
    const since = performance.now();
    const { code, timedOut } = await run(serverNode(), [join(BIN, program), ...args], {
      deadlineMs,
      cwd: ROOT,
      env,
    });
    broken ||= code !== 0;
    const words = timedOut ? 'ended at its deadline ' : code === 0 ? 'ok' : 'FAILED';
    return { code, words, time: elapsed(since) };
  };
  try {
    for (const { name, program, args } of withChecks ? CHECKS : []) {
      const { words, time } = await perform(name, program, args, CHECK_DEADLINE_MS);
      summary.push(`${name.padEnd(8)}${words.padEnd(8)}${time}`);
    }
    for (const name of suites) {
      const file = join(folder, `${name}.json`);
      const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
      const args = ['run', '--project', name, '--passWithNoTests', ...reporters, ...passedOn];
      const { code, words, time } = await perform(
        name,
        'vitest',
        args,
        Math.max(0, endMs - performance.now()),
      );
      const { passed, failed, skipped, names: failures } = count(file, code);
      total.passed += passed;
      total.failed += failed;
      total.skipped += skipped;
      summary.push(
        `${name.padEnd(8)}${words.padEnd(8)}${time}  ${passed} passed, ${failed} failed, ${skipped} skipped`,
        ...failures,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  if (total.passed + total.failed === 0) summary.push('no test ran');
  return { summary, total, ok: !broken && total.failed === 0 && total.passed > 0 };
}

const given = process.argv.slice(2);
const chosen = SUITES.filter((name) => given.includes(`--${name}`));
const passedOn = given.filter((word) => !SUITES.some((name) => word === `--${name}`));
const suites = chosen.length > 0 ? chosen : SUITES;

let total = { passed: 0, failed: 0, skipped: 0 };
process.exitCode = 1;
try {
  const since = performance.now();
  const { image } = await setup({ image: given.length === 0 || suites.includes('e2e') });
  const result = await runAll(image, suites, passedOn, given.length === 0, since + RUN_DEADLINE_MS);
  total = result.total;
  console.log(`\n── summary  ${elapsed(since)}\n${result.summary.join('\n')}\n`);
  if (result.ok) process.exitCode = 0;
} catch (error) {
  explain(error);
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
