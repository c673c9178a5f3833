import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import { ScriptedServer } from '../../../test/support/scripted-server.ts';
import { type Task, VirtualServer } from './index.ts';

let scripted: ScriptedServer;
let server: VirtualServer;
let task: Task;

beforeEach(async () => {
  scripted = await ScriptedServer.start();
  scripted.slowTasks = true;
  scripted.addVm('web-1');
  server = await VirtualServer.connect(scripted.url);
  task = await (await server.findVirtualMachine('web-1')).startup();
});

afterEach(async () => {
  await server.close();
  await scripted.stop();
});

describe('a task', () => {
  it('is awaited to its end, with its progress', async () => {
    const percents: number[] = [];
    expect([task.isComplete, task.result, task.error]).toEqual([false, null, undefined]);
    const done = task.waitForCompletion(120_000, { onProgress: (info) => void percents.push(info.percent) });
    Object.assign(scripted.tasks[0] ?? {}, { percent: 50 });
    await eventually('progress', () => percents.includes(50));
    scripted.endTask(task.id);
    expect(await done).toMatchObject({ result: 'success', percent: 100 });
    expect(percents.at(-1)).toBe(100);
    expect([task.isComplete, task.percentComplete, task.isCancelable]).toEqual([true, 100, false]);
  });

  it('that fails throws its own error', async () => {
    const error = {
      code: 'VM_E_OUT_OF_RESOURCE',
      hresult: '0xA0040203',
      detail: 'No memory; stop a machine.',
    };
    scripted.endTask(task.id, { result: 'outOfMemoryError', error });
    await expect(task.waitForCompletion()).rejects.toMatchObject({
      code: 'VM_E_OUT_OF_RESOURCE',
      message: 'No memory; stop a machine.',
    });
    expect(task.error?.hresult).toBe(0xa0040203);
  });

  it('that failed with a code nobody knows is E_FAIL', async () => {
    scripted.endTask(task.id, {
      result: 'unexpectedError',
      error: { code: 'NEW', hresult: '0x1', detail: 'x' },
    });
    await expect(task.waitForCompletion()).rejects.toMatchObject({ code: 'E_FAIL' });
  });

  it('can be cancelled once', async () => {
    await task.cancel();
    expect(task.result).toBe('cancelled');
    await expect(task.waitForCompletion()).rejects.toMatchObject({ code: 'E_ABORT' });
    await expect(task.cancel()).rejects.toMatchObject({ code: 'E_FAIL' });
  });

  it('is awaited no longer than said, and goes on', async () => {
    await expect(task.waitForCompletion(60)).rejects.toMatchObject({
      code: 'VM_E_TIMED_OUT',
      message: expect.stringContaining('vmpulse task show t1') as string,
    });
    await expect(task.waitForCompletion(120_000, { signal: AbortSignal.timeout(60) })).rejects.toMatchObject({
      code: 'E_ABORT',
    });
    expect((await task.refresh()).isComplete).toBe(false);
  });

  it('that the server forgot is VMPULSE_E_NOT_FOUND', async () => {
    scripted.tasks = [];
    await expect(task.waitForCompletion()).rejects.toMatchObject({ code: 'VMPULSE_E_NOT_FOUND' });
  });
});
