/**
 * The space of the file systems that machines write to (every disk of theirs that is not read-only: sparse and qcow2
 * images grow) and that of the data directory. Below one bound that is told as a warning, below another as an error,
 * and the machines that run on it are paused before their disk is full, as the original does. Kept here:
 *  1. The event comes first, with the file system's level in its transaction, then each machine's mark (`pausing`),
 *     then its pause, which is a stateChanged with the reason diskSpace and no stop. Where the log cannot write, which
 *     a full disk of the data directory brings about, the pause waits `taskDurabilityTimeoutMs` and is made all the
 *     same: a guest that is halted beside a log that is late is better than one whose disk is full.
 *  2. A machine is resumed by the service only when the service paused it, nothing changed its state since (its mark
 *     is `paused`, kept in its record with its changes of state, through kill -9), and every file system it writes to
 *     is seen to have room: the bound and half of it more. An operator who resumes one is not argued with: it is
 *     `exempt` until the space is regained. A start or a reset begins anew.
 *  3. What cannot be seen changes nothing: no level, no pause, no resumption.
 *  4. A kill -9 between the event and the mark, or the mark and the pause: the next service pauses what still runs. One
 *     that finds a marked machine paused takes that for its own doing.
 *
 * What is guaranteed: a disk that fills at up to 80 MB/s is seen below 20 MB before it is full. A faster one may be
 * full first: QEMU then stops each machine at the write that did not fit, before its guest learns of it (told as
 * ioError); such a machine is not marked, and its operator resumes it.
 *
 * A disk that is a block device (LVM) takes no space of a file system, and is left out.
 */
import { messageIds, VmError, type EventDraft, type VmReference } from '@vmpulse/wire';
import { type Clock, type Timer, withDeadline } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import type { DiskLooks, FileSystemLook } from '../hypervisor/disk-looks.ts';
import {
  diskRetryMs,
  diskUnknownMs,
  maxDiskLookMs,
  maxDiskSpaceNames,
  taskDurabilityTimeoutMs,
} from '../limits.ts';
import type { DocumentStore, StoredDocument } from '../machine-record.ts';
import { type DiskLevel, type DiskSpaceBounds, diskLevels, nextLevel, nextLookMs } from './disk-level.ts';
import { occupy } from './operate.ts';
import { executors } from './operations.ts';
import type { MachineDirectory } from './machine-directory.ts';
import type { Machine } from './machine.ts';
import type { Logger } from './ports.ts';
import { Task } from './task.ts';

/** What the watch over disk space works with. */
export interface DiskSpacePorts {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly store: DocumentStore;
  readonly machines: MachineDirectory;
  readonly looks: DiskLooks;
  readonly logger: Logger;
  /** The data directory. */
  readonly directory: string;
  readonly bounds: DiskSpaceBounds;
}

/** Free bytes of one file system. */
export interface DiskSpaceCount {
  readonly path: string;
  readonly freeBytes: number;
}

/** What is known of a file system. */
interface Watched {
  readonly key: string;
  /** Where it was mounted when it was first seen: under this its level is stored. */
  path: string;
  level: DiskLevel;
  freeBytes: number | null;
  unseenSinceMs: number | null;
  unknownTold: boolean;
}

interface StoredLevel {
  readonly key: string;
  readonly level: DiskLevel;
}

type Draft = Extract<EventDraft, { type: 'diskSpaceLow' | 'diskSpaceRegained' | 'diskSpaceUnknown' }>;

const documentKind = 'diskSpace';

/** The watch over disk space. `load`, then `start` once the machines were found. */
export class DiskSpace {
  readonly #ports: DiskSpacePorts;
  readonly #watched = new Map<string, Watched>();
  /** By path; those that were not seen again yet. */
  readonly #stored = new Map<string, StoredLevel>();
  readonly #retryAtMs = new Map<string, number>();
  /** Machines whose pause was not answered in time, and how many operations were begun on each by then. */
  readonly #asked = new Map<string, number>();
  #timer: Timer | null = null;
  #closed = false;

  constructor(ports: DiskSpacePorts) {
    this.#ports = ports;
  }

  /** Takes what is stored. Errors: those of the store. */
  async load(): Promise<void> {
    for (const { key, value } of await this.#ports.store.loadDocuments(documentKind)) {
      this.#stored.set(key, value as StoredLevel);
    }
  }

  /** Looks now, and from now on. */
  start(): void {
    this.#lookIn(0);
  }

  /** No look begins any more. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  /** What was seen last; a file system that does not answer is left out. */
  counts(): DiskSpaceCount[] {
    return [...this.#watched.values()].flatMap(({ path, freeBytes, unseenSinceMs }) =>
      freeBytes === null || unseenSinceMs !== null ? [] : [{ path, freeBytes }],
    );
  }

  #lookIn(delayMs: number): void {
    if (this.#closed) return;
    this.#timer = this.#ports.clock.setTimer(() => void this.#round(), delayMs);
  }

  async #round(): Promise<void> {
    const { logger, bounds } = this.#ports;
    try {
      await this.#look();
    } catch (error) {
      logger.error({ err: error }, 'the disk space could not be dealt with');
    }
    let nextMs = maxDiskLookMs;
    for (const { level, freeBytes, unseenSinceMs } of this.#watched.values()) {
      if (freeBytes === null || unseenSinceMs !== null) continue;
      nextMs = Math.min(nextMs, nextLookMs(level, freeBytes, bounds));
    }
    this.#lookIn(nextMs);
  }

  async #look(): Promise<void> {
    const { machines, looks, directory } = this.#ports;
    const users = new Map<string, Machine[]>([[directory, []]]);
    for (const machine of machines.all()) {
      for (const file of writtenFiles(machine)) users.set(file, [...(users.get(file) ?? []), machine]);
    }
    const { seen, missing } = await looks.look([...users.keys()]);
    if (this.#closed) return;
    const told: Promise<unknown>[] = [];
    const low = new Set<string>();
    const unsure = new Set([...missing].flatMap((file) => users.get(file) ?? []).map(({ id }) => id));
    for (const look of seen) {
      // One that was deleted while the disks were looked at is no longer there.
      const on = [...new Set(look.files.flatMap((file) => users.get(file) ?? []))].filter(({ id }) =>
        machines.has(id),
      );
      const watched = this.#of(look);
      told.push(...this.#judge(watched, look, on));
      for (const { id } of on) {
        if (watched.unseenSinceMs !== null) unsure.add(id);
        else if (watched.level === 'error') low.add(id);
      }
    }
    told.push(...this.#forget(seen));
    await this.#soon(told);
    if (!this.#closed) for (const machine of machines.all()) this.#deal(machine, low, unsure);
  }

  #of(look: FileSystemLook): Watched {
    const { key, path } = look;
    const known = this.#watched.get(key);
    if (known !== undefined) return known;
    const never = { freeBytes: null, unseenSinceMs: null, unknownTold: false } as const;
    const watched: Watched = { key, path, level: 'ok', ...never };
    this.#watched.set(key, watched);
    return watched;
  }

  /** Takes up the level that an earlier service told, at the first sight. */
  #restore(watched: Watched): void {
    const { key, path } = watched;
    // A device's number changes with a boot of the host, the place it is mounted at does not.
    const stored =
      [...this.#stored].find(([, one]) => one.key === key) ?? [...this.#stored].find(([at]) => at === path);
    if (stored === undefined) return;
    this.#stored.delete(stored[0]);
    Object.assign(watched, { path: stored[0], level: stored[1].level });
  }

  /** Follows what was seen, and tells what changed by it. */
  #judge(watched: Watched, look: FileSystemLook, on: readonly Machine[]): Promise<unknown>[] {
    const { clock, bounds } = this.#ports;
    const { freeBytes, trouble } = look;
    if (freeBytes !== null && watched.freeBytes === null) this.#restore(watched);
    const { path, level: from } = watched;
    if (freeBytes === null) {
      const nowMs = clock.monotonicMs();
      watched.unseenSinceMs ??= nowMs;
      if (watched.unknownTold || nowMs - watched.unseenSinceMs < diskUnknownMs) return [];
      watched.unknownTold = true;
      return [this.#tell(this.#unknown(path, trouble, false), [])];
    }
    const told: Promise<unknown>[] = [];
    if (watched.unknownTold) told.push(this.#tell(this.#unknown(path, 'it answers again', true), []));
    Object.assign(watched, { freeBytes, unseenSinceMs: null, unknownTold: false });
    const to = nextLevel(from, freeBytes, bounds);
    if (to === from) return told;
    watched.level = to;
    const value: StoredLevel | null = to === 'ok' ? null : { key: watched.key, level: to };
    const documents = [{ kind: documentKind, key: path, value }];
    told.push(this.#tell(this.#changed(watched, from, freeBytes, on), documents));
    return told;
  }

  #changed({ path, level }: Watched, from: DiskLevel, freeBytes: number, on: readonly Machine[]): Draft {
    const { clock, bounds } = this.#ports;
    const machines: VmReference[] = on.slice(0, maxDiskSpaceNames).map(({ reference }) => reference);
    const common = { path, freeBytes, machines, machineCount: on.length };
    const timeMs = clock.wallMs();
    const bound =
      level === 'error' || (level === 'warning' && from === 'error') ? 'errorBytes' : 'warningBytes';
    const boundBytes = bounds[bound];
    if (from !== 'ok' && diskLevels.indexOf(level) < diskLevels.indexOf(from)) {
      const data = { ...common, boundBytes, messageId: messageIds.diskSpaceRegained, from, to: level };
      return { type: 'diskSpaceRegained', timeMs, data };
    }
    const data =
      level === 'error'
        ? { messageId: messageIds.diskSpaceError, level, eventType: 11 }
        : { messageId: messageIds.diskSpaceWarning, level: 'warning' as const, eventType: 10 };
    return { type: 'diskSpaceLow', timeMs, data: { ...common, boundBytes, ...data } };
  }

  #unknown(path: string, reason: string, over: boolean): Draft {
    const data = { messageId: messageIds.diskSpaceUnknown, path, reason, over };
    return { type: 'diskSpaceUnknown', timeMs: this.#ports.clock.wallMs(), data };
  }

  /** Of what nobody writes to any more: what is on it is told when somebody does again. */
  #forget(seen: readonly FileSystemLook[]): Promise<unknown>[] {
    const { store } = this.#ports;
    const told: Promise<unknown>[] = [];
    const keys = new Set(seen.map(({ key }) => key));
    const gone: string[] = [];
    for (const { key, path, level, unknownTold } of this.#watched.values()) {
      if (keys.has(key)) continue;
      this.#watched.delete(key);
      // Another may be mounted there by now.
      if (level !== 'ok' && ![...this.#watched.values()].some((other) => other.path === path))
        gone.push(path);
      if (unknownTold) told.push(this.#tell(this.#unknown(path, 'it is not asked any more', true), []));
    }
    // Until all were seen, one that is stored may be among those that do not answer.
    if (seen.every(({ freeBytes }) => freeBytes !== null)) {
      gone.push(...this.#stored.keys());
      this.#stored.clear();
    }
    if (gone.length === 0) return told;
    const documents = gone.map((key) => ({ kind: documentKind, key, value: null }));
    return [...told, this.#noted(store.putDocuments(documents))];
  }

  #tell(draft: Draft, documents: readonly StoredDocument[]): Promise<unknown> {
    const { log } = this.#ports;
    return this.#noted(documents.length === 0 ? log.append(draft) : log.append(draft, { documents }));
  }

  /** Never rejects. */
  async #noted(written: Promise<unknown>): Promise<void> {
    try {
      await written;
    } catch (error) {
      this.#ports.logger.error({ err: error }, 'an event of disk space could not be written');
    }
  }

  /** Resolves once `told` is durable, or not soon; at once while the log cannot be written. Never rejects. */
  async #soon(told: readonly Promise<unknown>[]): Promise<void> {
    const { clock, log } = this.#ports;
    if (told.length === 0 || !log.state().writable) return;
    try {
      const late = (): VmError => new VmError('VM_E_TIMED_OUT', 'The events are not durable yet.');
      await withDeadline(clock, Promise.all(told), taskDurabilityTimeoutMs, late);
    } catch {
      // They wait in the log's queue.
    }
  }

  /** Pauses, resumes or leaves a machine; what it begins goes on beside. */
  #deal(machine: Machine, low: ReadonlySet<string>, unsure: ReadonlySet<string>): void {
    const { id, state, phase } = machine;
    const asked = this.#asked.get(id);
    if (asked !== undefined && (state === 'paused' || asked !== machine.operationsBegun)) {
      this.#asked.delete(id);
      if (asked === machine.operationsBegun) machine.remember({ diskSpace: 'paused' });
    }
    const mark = machine.record.diskSpace ?? null;
    if (phase.kind !== 'held' || machine.slot !== null || this.#isResting(id)) return;
    if (low.has(id)) {
      if (state === 'running' && mark !== 'exempt') void this.#pause(machine);
    } else if (mark !== null && !unsure.has(id)) {
      if (mark === 'paused' && state === 'paused') void this.#resume(machine);
      else machine.remember({ diskSpace: null });
    }
  }

  /** Never rejects. */
  async #pause(machine: Machine): Promise<void> {
    await this.#operate(machine, 'pause', async (task) => {
      if (machine.record.diskSpace !== 'pausing') machine.remember({ diskSpace: 'pausing' });
      await machine.writtenSoon();
      if (this.#closed) return;
      await executors.pause(machine, task);
    });
  }

  /** Never rejects. */
  async #resume(machine: Machine): Promise<void> {
    await this.#operate(machine, 'resume', async (task) => {
      await executors.resume(machine, task);
      machine.remember({ diskSpace: null });
    });
  }

  async #operate(
    machine: Machine,
    operation: 'pause' | 'resume',
    work: (task: Task) => Promise<void>,
  ): Promise<void> {
    const { clock, logger } = this.#ports;
    const vm = machine.reference;
    const description = `${operation} of ${machine.name} for its disk space`;
    const task = new Task({ vm, operation, description, cancelable: false }, clock.monotonicMs());
    const error = await occupy(machine, operation, null, () => work(task));
    if (error === null) {
      logger.info({ vm, operation }, 'dealt with for its disk space');
      return;
    }
    this.#retryAtMs.set(machine.id, clock.monotonicMs() + diskRetryMs);
    // Whoever pauses it now is not this service.
    if (machine.record.diskSpace === 'pausing') machine.remember({ diskSpace: null });
    // But QEMU may still do what it was told.
    if (operation === 'pause' && error.code === 'VM_E_TIMED_OUT')
      this.#asked.set(machine.id, machine.operationsBegun);
    logger.error({ err: error, vm, operation }, 'a machine could not be dealt with for its disk space');
  }

  #isResting(id: string): boolean {
    const atMs = this.#retryAtMs.get(id);
    if (atMs === undefined) return false;
    if (this.#ports.clock.monotonicMs() < atMs) return true;
    this.#retryAtMs.delete(id);
    return false;
  }
}

/** What of its disks it writes to, or would if it were started now. */
function writtenFiles({ record }: Machine): string[] {
  const { disks } = record.activeConfiguration ?? record.configuration;
  return disks.filter(({ readOnly }) => readOnly !== true).map(({ file }) => file);
}
