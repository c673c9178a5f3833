/**
 * Control groups that keep QEMU from running, as a container runtime or a hypervisor manager would: frozen, or with
 * next to no processor time. A frozen process cannot even be killed, so nothing may be left so.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** One way to hold a process back: which hierarchy, what is written to begin with and to end it. */
interface Restraint {
  readonly controller: 'freezer' | 'cpu';
  readonly v1: { readonly begin: readonly Setting[]; readonly end: Setting };
  readonly v2: { readonly begin: readonly Setting[]; readonly end: Setting };
}

type Setting = readonly [file: string, value: string];

const freezing: Restraint = {
  controller: 'freezer',
  v1: { begin: [['freezer.state', 'FROZEN']], end: ['freezer.state', 'THAWED'] },
  v2: { begin: [['cgroup.freeze', '1']], end: ['cgroup.freeze', '0'] },
};

/** A thousandth of one processor. */
const throttling: Restraint = {
  controller: 'cpu',
  v1: {
    begin: [
      ['cpu.cfs_period_us', '1000000'],
      ['cpu.cfs_quota_us', '1000'],
    ],
    end: ['cpu.cfs_quota_us', '-1'],
  },
  v2: { begin: [['cpu.max', '1000 1000000']], end: ['cpu.max', 'max'] },
};

/** What is held back at the moment. */
const held = new Map<string, () => void>();

/** Freezes all threads of a process for a time. Fails where this host's control groups cannot be written. */
export function freezeProcess(pid: number, forMs: number): Promise<void> {
  return restrain(pid, forMs, freezing);
}

/** Leaves all threads of a process together a thousandth of one processor for a time. Fails likewise. */
export function throttleProcess(pid: number, forMs: number): Promise<void> {
  return restrain(pid, forMs, throttling);
}

/** The same for its vCPUs alone, as libvirt's `vcpu_quota` does: the rest of QEMU runs and answers. cgroup v1 only. */
export function throttleVcpus(pid: number, forMs: number): Promise<void> {
  return restrain(pid, forMs, throttling, (thread) => thread.startsWith('CPU '));
}

/** Lets go of whatever is held back still. */
export function releaseAll(): void {
  for (const release of held.values()) release();
}

async function restrain(
  pid: number,
  forMs: number,
  restraint: Restraint,
  which?: (thread: string) => boolean,
): Promise<void> {
  const isV1 = existsSync(`/sys/fs/cgroup/${restraint.controller}`);
  const pattern = isV1 ? new RegExp(`^\\d+:${restraint.controller}[^:]*:(.*)$`, 'mu') : /^0::(.*)$/mu;
  const path = pattern.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1];
  if (path === undefined) throw new Error(`this host has no control group of ${restraint.controller}`);
  const home = join('/sys/fs/cgroup', isV1 ? restraint.controller : '', path);
  const group = join(home, `vmpulse-campaign-${pid}`);
  const { begin, end } = isV1 ? restraint.v1 : restraint.v2;
  if (which !== undefined && !isV1) throw new Error('single threads are held back on cgroup v1 only');
  const put = (folder: string): void => {
    if (which === undefined) return writeFileSync(join(folder, 'cgroup.procs'), String(pid));
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const name = readFileSync(`/proc/${pid}/task/${thread}/comm`, 'utf8');
      if (which(name)) writeFileSync(join(folder, 'tasks'), thread);
    }
    return undefined;
  };
  mkdirSync(group);
  const release = (): void => {
    if (!held.delete(group)) return;
    writeFileSync(join(group, end[0]), end[1]);
    if (existsSync(`/proc/${pid}`)) put(home);
    try {
      rmdirSync(group);
    } catch {
      // A process that ends in it holds it for a moment; an empty group does no harm.
    }
  };
  held.set(group, release);
  try {
    put(group);
    for (const [file, value] of begin) writeFileSync(join(group, file), value);
    await delay(forMs);
  } finally {
    release();
  }
}
