import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { VirtualMachine } from '@vmpulse/client';
import type { VmConfiguration } from '@vmpulse/wire';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { Program } from '../support/program.ts';
import { eventually, RealService, patienceMs } from '../support/real-service.ts';

const agentFile = fileURLToPath(new URL('../../examples/monitoring-agent/agent.ts', import.meta.url));

let service: RealService;
let agents: Program[] = [];

beforeAll(async () => {
  service = await RealService.start();
});
afterEach(async () => {
  for (const agent of agents) await agent.end('SIGKILL');
  agents = [];
  await service.server.subscriptions.delete('monitoring-agent');
  await service.clear();
});
afterAll(() => service.dispose());

/** The agent, attached to its subscription. */
async function startAgent(): Promise<Program> {
  const agent = new Program(process.execPath, [agentFile, service.directory]);
  agents.push(agent);
  await eventually(
    () => service.server.subscriptions.get('monitoring-agent').then(({ state }) => state === 'served', never),
    () => `the agent to be served:\n${agent.output}`,
  );
  return agent;
}

const never = (): boolean => false;

/** A machine that runs its firmware and nothing else: enough to be killed. */
async function firmware(name: string, change: Partial<VmConfiguration> = {}): Promise<VirtualMachine> {
  const vm = await service.server.createVirtualMachine({ name, memoryMiB: 64, ...change });
  await (await vm.startup()).waitForCompletion(patienceMs);
  return vm;
}

async function killQemu(vm: VirtualMachine): Promise<void> {
  process.kill(await service.pidOf(vm), 'SIGKILL');
  await service.heard.wait(vm.name, 'heartbeatStopped');
  await service.heard.wait(vm.name, 'stateChanged', 5);
  expect((await vm.refresh()).state).toBe('turnedOff');
}

/** Everything told so far was taken by the agent. */
async function taken(): Promise<void> {
  const seq = await service.caughtUp();
  await eventually(
    () => service.server.subscriptions.get('monitoring-agent').then(({ cursor }) => cursor >= seq),
    () => `everything up to ${seq} to be acknowledged:\n${agents.at(-1)?.output}`,
  );
}

const starts = (vm: VirtualMachine): number =>
  service.heard.of(vm.name).filter(({ data }) => 'state' in data && data.state === 'turningOn').length;

test('prints every event, resets a guest that hangs, and ends in order when told to', async () => {
  const agent = await startAgent();
  const vm = await service.live('web-1');
  await service.tell(vm, 'hang');
  const stopped = await service.heard.wait('web-1', 'heartbeatStopped');
  await service.heard.wait('web-1', 'guestReset');
  await agent.says('web-1 was reset');
  await taken();
  expect(await agent.end('SIGTERM')).toBe(0);
  const printed = agent.output.split('\n').filter((line) => line.includes(' #'));
  expect(printed).toContainEqual(expect.stringContaining(`#${stopped.seq} heartbeatStopped web-1 {`));
  const numbers = printed.map((line) => Number(/#(\d+)/u.exec(line)?.[1]));
  const from = service.heard.events.findIndex(({ seq }) => seq === numbers[0]);
  expect(numbers).toEqual(service.heard.events.slice(from, from + numbers.length).map(({ seq }) => seq));
  expect(numbers).toContain(stopped.seq);
  expect((await service.server.subscriptions.get('monitoring-agent')).deadLetters).toBe(0);
});

test('killed with -9, it learns later of a machine that stopped meanwhile, and starts it', async () => {
  const vm = await firmware('web-2');
  await (await startAgent()).end('SIGKILL');
  await killQemu(vm);
  const agent = await startAgent();
  await agent.says('web-2 was started');
  expect(await service.pidOf(vm)).toBeGreaterThan(0);
  await taken();
  expect(starts(vm)).toBe(2);
});

/** Kills the agent while the start that it asked for is under way; answers how often the machine was started so far. */
async function killedAmidRestart(vm: VirtualMachine): Promise<number> {
  // A busy host may be too late for it: then once more.
  for (let count = 2; count < 6; count += 1) {
    const agent = await startAgent();
    process.kill(await service.pidOf(vm), 'SIGKILL');
    await eventually(
      () => starts(vm) === count,
      () => agent.output,
    );
    await agent.end('SIGKILL');
    if (!agent.output.includes('was started')) return count;
  }
  throw new Error('the agent was never killed in time');
}

test('killed with -9 amid a restart, it is told of the stop again and does not restart twice', async () => {
  const vm = await firmware('web-3');
  const before = await killedAmidRestart(vm);
  await eventually(
    () => vm.refresh().then(({ state }) => state === 'running'),
    () => 'the start to end',
  );
  const second = await startAgent();
  await second.says('heartbeatStopped web-3');
  await taken();
  expect(second.output).not.toContain('was started');
  expect(starts(vm)).toBe(before);
});

test('a restart that fails is tried again until it succeeds', async () => {
  const file = join(service.directory, 'web-4.img');
  await writeFile(file, Buffer.alloc(1024 * 1024));
  const vm = await firmware('web-4', { disks: [{ file, format: 'raw' }] });
  const agent = await startAgent();
  await rename(file, `${file}.away`);
  process.kill(await service.pidOf(vm), 'SIGKILL');
  await service.heard.wait('web-4', 'taskFailed');
  await rename(`${file}.away`, file);
  await agent.says('web-4 was started');
  await taken();
});

test('what an operator turned off, holds, or left to vmpulse’s own recovery is not restarted', async () => {
  const [off, held, own] = [
    await firmware('off'),
    await firmware('held'),
    await firmware('own', { recovery: { action: 'restart', dryRun: true } }),
  ];
  await (await startAgent()).end('SIGTERM');
  for (const vm of [off, held, own]) await killQemu(vm);
  await (await off.startup()).waitForCompletion(patienceMs);
  await (await off.turnOff()).waitForCompletion(patienceMs);
  await held.hold({ minutes: 10, reason: 'new disk' });
  const agent = await startAgent();
  await agent.says('heartbeatStopped own');
  await taken();
  for (const vm of [off, held, own]) expect((await vm.refresh()).state).toBe('turnedOff');
  expect(agent.output).not.toContain('was started');
});
