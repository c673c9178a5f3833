import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ScriptedMonitor } from '../../../../../test/support/scripted-monitor.ts';
import { SimulatedClock } from '../../../../../test/support/simulated-clock.ts';
import { qmpCommandTimeoutMs, qmpKeepaliveMs, qmpKeepaliveTimeoutMs } from '../../limits.ts';
import type { RunState } from '../hypervisor.ts';
import { QmpLink } from './qmp-link.ts';

describe('A link to a monitor', () => {
  let folder: string;
  let monitor: ScriptedMonitor;
  let clock: SimulatedClock;
  let link: QmpLink;
  let told: string[];
  let refined: RunState | null;
  /** Real sockets on simulated time: time goes on in steps until the condition holds. */
  const until = async (condition: () => boolean, stepMs = 1): Promise<void> => {
    for (let step = 0; step < 2_000 && !condition(); step += 1) await clock.advanceAsync(stepMs);
    expect(condition()).toBe(true);
  };

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'link-'));
    monitor = new ScriptedMonitor();
    monitor.answer = ({ id }, socket) => socket.write(`{"return":{"status":"running"},"id":${id}}\n`);
    await monitor.listen(join(folder, 's'));
    clock = new SimulatedClock();
    told = [];
    refined = null;
    link = new QmpLink(join(folder, 's'), clock, {
      onEvent: (name) => told.push(name),
      onDisconnected: () => told.push('disconnected'),
      onLost: (reason) => told.push(`lost: ${reason}`),
      refine: (runState) => Promise.resolve(refined ?? runState),
      onRegained: (runState) => told.push(`regained: ${runState}`),
    });
    await link.connect();
  });
  afterEach(async () => {
    link.close('the test ended');
    monitor.close();
    await rm(folder, { recursive: true });
  });

  it('connects again after the connection broke, and tells both, because events may have been missed', async () => {
    monitor.send('garbage\n');
    await until(() => told.length === 3);
    expect(told).toEqual([
      'disconnected',
      "lost: The connection to QEMU's monitor broke: what came was no QMP.",
      'regained: running',
    ]);
    expect(await link.runState()).toBe('running');
    monitor.send('{"event":"STOP"}\n');
    await until(() => told.includes('STOP'));
  });

  it('tells what the run state means for its machine', async () => {
    refined = 'paused';
    monitor.send('garbage\n');
    await until(() => told.length === 3);
    expect(told.at(-1)).toBe('regained: paused');
  });

  it('asks a silent QEMU for its status, and tells once that it does not answer and once that it does', async () => {
    const held: (() => void)[] = [];
    monitor.answer = ({ id }, socket) =>
      held.push(() => socket.write(`{"return":{"status":"paused"},"id":${id}}\n`));
    await until(() => held.length === 1, qmpKeepaliveMs / 10);
    await until(() => told.length === 1, qmpKeepaliveTimeoutMs / 10);
    expect(told).toEqual([`lost: QEMU did not answer query-status within ${qmpKeepaliveTimeoutMs} ms.`]);
    await clock.advanceAsync(10 * qmpKeepaliveMs);
    expect(told).toHaveLength(1);
    expect(held.length).toBeLessThanOrEqual(4);
    monitor.answer = ({ id }, socket) => socket.write(`{"return":{"status":"paused"},"id":${id}}\n`);
    for (const answer of held) answer();
    await until(() => told.length === 2);
    expect(told[1]).toBe('regained: paused');
  });

  it('does not take a connection that ended together with its negotiation', async () => {
    const other = new ScriptedMonitor();
    await other.listen(join(folder, 't'));
    other.answer = ({ id }, socket) => socket.write(`{"return":{},"id":${id}}\ngarbage\n`);
    const second = new QmpLink(join(folder, 't'), clock, {
      onEvent: () => undefined,
      onDisconnected: () => undefined,
      onLost: () => undefined,
      refine: (runState) => Promise.resolve(runState),
      onRegained: () => undefined,
    });
    await expect(second.connect()).rejects.toThrow(/what came was no QMP/);
    expect(second.lost).toBe(true);
    second.close('the test ended');
    other.close();
  });

  it('asks nothing while QEMU talks', async () => {
    const before = monitor.commands.length;
    for (let round = 1; round <= 3; round += 1) {
      monitor.send('{"event":"RTC_CHANGE"}\n');
      await until(() => told.length === round);
      await clock.advanceAsync(qmpKeepaliveMs);
    }
    expect(monitor.commands.length - before).toBeLessThanOrEqual(1);
  });

  it('fails commands at once while there is no connection', async () => {
    monitor.close();
    await until(() => told.some((each) => each.startsWith('lost')));
    expect(link.lost).toBe(true);
    await expect(link.execute('x')).rejects.toMatchObject({ code: 'VMPULSE_E_HYPERVISOR' });
  });

  it('tells nothing any more once closed, and fails what waits', async () => {
    monitor.answer = () => undefined;
    const waiting = link.execute('x');
    link.close('QEMU ended');
    await expect(waiting).rejects.toThrow(/QEMU ended/);
    await clock.advanceAsync(10 * qmpKeepaliveMs + qmpCommandTimeoutMs);
    expect(told).toEqual([]);
    expect(clock.pendingTimers).toBe(0);
  });
});
