import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { Program } from '../support/program.ts';
import { parseUnit, type Setting, valuesOf } from '../support/unit-file.ts';

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/u, '');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const unitText = read('packaging/vmpulse.service');
const dropInText = read('examples/systemd/vmpulse.conf');
const agentText = read('examples/monitoring-agent/vmpulse-agent.service');
const merged = [...parseUnit(unitText), ...parseUnit(dropInText)];
const service = (key: string): string[] => valuesOf(merged, 'Service', key);

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmp-'));
});
afterEach(() => rm(directory, { recursive: true, force: true, maxRetries: 5 }));

/** What each may be set to; all else is a slip, or a change that wants to be thought over. */
const known: Record<string, Record<string, RegExp>> = {
  Unit: { RequiresMountsFor: /^(\/\S+ ?)+$/u },
  Service: {
    EnvironmentFile: /^-\/etc\/default\/vmpulse$/u,
    ExecStart: /^(\/opt\/vmpulse\/.* serve --data \/var\/lib\/vmpulse \$VMPULSE_OPTIONS)?$/u,
    KillMode: /^process$/u,
    OOMPolicy: /^continue$/u,
    TasksMax: /^infinity$/u,
    Restart: /^always$/u,
    RestartSec: /^\d+$/u,
    LimitCORE: /^0$/u,
    CPUWeight: /^([1-9]|[1-9]\d{1,2}|[1-9]\d{3}|10000)$/u,
  },
};

describe('the drop-in', () => {
  it('has only settings and values that systemd knows and that were thought over', () => {
    const slips = parseUnit(dropInText).filter(
      ({ section, key, value }) => known[section]?.[key]?.test(value) !== true,
    );
    expect(slips).toEqual([]);
  });

  it('leaves one command, and guests alone when the service is restarted', () => {
    expect(service('ExecStart')).toHaveLength(1);
    expect(service('KillMode').at(-1)).toBe('process');
    const deadly = (settings: readonly Setting[]): string[] =>
      settings
        .map(({ key }) => key)
        .filter((key) =>
          /^(Memory(Max|High)|CPUQuota|WatchdogSec|Private\w+|DeviceAllow|DevicePolicy)$/u.test(key),
        );
    expect(deadly(merged)).toEqual([]);
  });

  test('its command with its options runs the service', async () => {
    const options = /^VMPULSE_OPTIONS=(.+)$/mu.exec(read('examples/systemd/vmpulse.env'))?.[1];
    expect(options).toContain('--script-user vmpulse-scripts');
    const words = (service('ExecStart')[0] ?? '')
      .replaceAll('/opt/vmpulse', root)
      .replace('/var/lib/vmpulse', directory)
      .replace('$VMPULSE_OPTIONS', options ?? '')
      .replace('vmpulse-scripts', execFileSync('id', ['-un'], { encoding: 'utf8' }).trim())
      .split(' ');
    const program = new Program(words[0] ?? '', [...words.slice(1), '--listen', '127.0.0.1:0']);
    await program.says('"ready"');
    expect(await program.end('SIGTERM')).toBe(0);
  });
});

const hasSystemd = spawnSync('systemd-analyze', ['--version']).status === 0;

describe.skipIf(!hasSystemd)('systemd-analyze', () => {
  /** What it says of units that are installed in a folder of their own, with this checkout as the program's. */
  async function verify(name: string, unit: string, dropIn?: string): Promise<string> {
    const here = (text: string): string =>
      text
        .replaceAll('/opt/vmpulse', root)
        .replaceAll(/^(RequiresMountsFor|Wants|After|WantedBy)=.*$/gmu, '');
    await writeFile(join(directory, name), here(unit));
    if (dropIn !== undefined) {
      await mkdir(join(directory, `${name}.d`));
      await writeFile(join(directory, `${name}.d`, 'site.conf'), here(dropIn));
    }
    const env = { ...process.env, SYSTEMD_UNIT_PATH: `${directory}:`, LC_ALL: 'C' };
    const { status, stdout, stderr } = spawnSync(
      'systemd-analyze',
      ['verify', '--man=no', join(directory, name)],
      { env, encoding: 'utf8', timeout: 240_000 },
    );
    // Of other units of this host it may complain as well.
    const about = `${stdout}${stderr}`
      .split('\n')
      .filter((line) => line.includes(name) || line.includes('site.conf'));
    return status === 0 || about.length > 0 ? about.join('\n') : `${stdout}${stderr}`;
  }

  it('has nothing to say of the unit with the drop-in', async () => {
    expect(await verify('vmpulse.service', unitText, dropInText)).toBe('');
  });

  it('has nothing to say of the monitoring agent’s unit', async () => {
    expect(await verify('vmpulse-agent.service', agentText)).toBe('');
  });

  it('would have, of a setting that is misspelt', async () => {
    const wrong = dropInText
      .replace('OOMPolicy=continue', 'OOMPolicy=contnue')
      .replace('TasksMax', 'TaskMax');
    const said = await verify('vmpulse.service', unitText, wrong);
    expect(said).toContain('OOM policy');
    expect(said).toContain('TaskMax');
  });
});
