import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VmError, isEvent } from '@vmpulse/wire';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { machineReference, stoppedDraft } from '../../../../test/support/machines.ts';
import { MemoryEventLog } from '../../../../test/support/memory-event-log.ts';
import { SystemClock } from '../clock.ts';
import type { DocumentStore } from '../machine-record.ts';
import { type ScriptPorts, Scripts } from './script.ts';

let directory: string;
let log: MemoryEventLog;
let open: Scripts[];
const clock = new SystemClock();
const enable = { vsScriptsEnabled: true, vmScriptsEnabled: true };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-scripts-'));
  log = new MemoryEventLog();
  open = [];
});

afterEach(async () => {
  await Promise.all(open.map((scripts) => scripts.stop()));
  await rm(directory, { recursive: true });
});

async function started(store: DocumentStore = log): Promise<Scripts> {
  const findVm = (vm: string): { id: string; name: string } => {
    const found = [0, 1, 2].map(machineReference).find(({ id, name }) => id === vm || name === vm);
    if (found === undefined) throw new VmError('VM_E_VM_UNKNOWN', `no machine ${vm}`);
    return found;
  };
  const logger = { warn: vi.fn() } as unknown as ScriptPorts['logger'];
  const scripts = new Scripts({
    clock,
    log,
    store,
    logger,
    directory: join(directory, 'scripts'),
    findVm,
    termMs: 100,
  });
  open.push(scripts);
  await scripts.load();
  await scripts.start();
  return scripts;
}

const note = (): { command: string[] } => ({
  command: ['/bin/sh', '-c', `echo $VMPULSE_SEQ >>${directory}/ran`],
});

it('of a script that was removed as its events came nothing is left to run', async () => {
  // The write of what the events run is under way as the script is removed; the disk writes in order.
  let isStoring = (): void => undefined;
  const storing = new Promise<void>((resolve) => {
    isStoring = resolve;
  });
  const store: DocumentStore = {
    loadDocuments: (kind) => log.loadDocuments(kind),
    putDocuments: (documents) => {
      if (documents.some(({ kind, value }) => kind === 'scriptRun' && value !== null)) isStoring();
      return log.putDocuments(documents);
    },
  };
  const scripts = await started(store);
  await scripts.changeSettings(enable);
  await scripts.attach(null, 'heartbeatStopped', note());
  for (const n of [0, 1, 2]) void log.append(stoppedDraft(n));
  await storing;
  await scripts.remove(null, 'heartbeatStopped');
  expect(scripts.list()).toEqual([]);
  await scripts.stop();
  // The next start runs what is stored.
  expect(await log.loadDocuments('scriptRun')).toEqual([]);
});

it('a script of a machine that is deleted runs also where the store fails once', async () => {
  let failures = 0;
  const store: DocumentStore = {
    loadDocuments: (kind) => log.loadDocuments(kind),
    putDocuments: (documents) => {
      if (failures > 0 && documents.some(({ kind }) => kind === 'scriptRun')) {
        failures -= 1;
        return Promise.reject(
          new VmError('VMPULSE_E_LOG_UNAVAILABLE', 'This was not recorded: at the bound'),
        );
      }
      return log.putDocuments(documents);
    },
  };
  const scripts = await started(store);
  await scripts.changeSettings(enable);
  const vm = machineReference(1);
  await scripts.attach(vm.name, 'heartbeatStopped', note());
  failures = 1;
  // In one page.
  void log.append(stoppedDraft(1));
  await log.append({ type: 'vmDeleted', vm, timeMs: 0, data: {} });
  const ended = async (): Promise<boolean> => {
    const { events } = await log.read({ after: 0, limit: 1_000 });
    return events.some((event) => isEvent(event, 'scriptEnded'));
  };
  await expect.poll(ended).toBe(true);
  expect(await log.loadDocuments('script')).toEqual([]);
});
