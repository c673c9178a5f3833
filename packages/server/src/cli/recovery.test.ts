import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type HttpFixture, startHttp } from '../../../../test/support/http-fixture.ts';
import { ScriptedTerminal } from '../../../../test/support/scripted-terminal.ts';
import { runProgram } from './program.ts';

let directory: string;
let http: HttpFixture;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-cli-'));
  http = await startHttp({ listen: { socketPath: join(directory, 'vmpulse.sock') } });
});

afterEach(async () => {
  await http.server.close();
  await rm(directory, { recursive: true });
});

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const terminal = new ScriptedTerminal({ VMPULSE_DATA: directory }, directory);
  const code = await runProgram(args, terminal, '1.2.3', () => Promise.resolve([]));
  return { code, out: terminal.output, err: terminal.errors };
}

describe('vmpulse recovery', () => {
  it('shows what was tried, and takes up again what was given up', async () => {
    const { code, out } = await run('recovery', 'show', 'web-1');
    expect([code, out.split('\n')]).toEqual([
      0,
      [
        'policy   none: 3 attempts in 1 h, after 1 min of running',
        'state    gaveUp: 3 attempts in 60 min',
        'stopped  event 7 (hung)',
        'history  2026-01-01T00:00:00.000Z  reset done',
      ],
    ]);
    expect((await run('recovery', 'rearm', 'WEB-1')).out).toContain('state    idle');
    expect((await run('recovery', 'rearm', 'nobody')).code).not.toBe(0);
  });

  it('sets a policy, of which what is not named stays', async () => {
    await run('recovery', 'set', 'web-1', '--policy', 'staged', '--attempts', '5', '--nmi');
    const { out } = await run('recovery', 'set', 'web-1', '--min-running', '1.5', '--dry-run', '--json');
    const policy = { action: 'staged', attempts: 5, nmi: true, minRunningMs: 1_500, dryRun: true };
    expect(JSON.parse(out)).toMatchObject({ policy, inherited: false });
    const wrong = await run('recovery', 'set', 'web-1', '--policy', 'pray');
    expect([wrong.code, wrong.err.includes('Allowed choices')]).toEqual([2, true]);
  });

  it("shows and changes the server's default", async () => {
    expect((await run('recovery', 'default')).out).toContain('action        none');
    const { out } = await run('recovery', 'default', '--policy', 'reset', '--at-once', '4', '--json');
    expect(JSON.parse(out)).toMatchObject({ action: 'reset', atOnce: 4, attempts: 3, settleMs: null });
    const policyless: unknown = JSON.parse(
      (await run('recovery', 'set', 'web-1', '--policy', 'default', '--json')).out,
    );
    expect(policyless).toMatchObject({ inherited: true, policy: { action: 'reset' } });
  });
});
