/**
 * Scripts on events: a reader of the log with a cursor of its own. What an event runs is stored together with the
 * cursor that has passed it, so that a script runs at least once for each event since it was attached, and again only
 * where the service died while it ran.
 */
import {
  type EventDraft,
  type ScriptInfo,
  type ScriptSettings,
  VmError,
  type VmEvent,
  isEvent,
  messageIds,
} from '@vmpulse/wire';
import { openStream } from '../event/outbox.ts';
import {
  maxScriptQueue,
  scriptCursorStride,
  scriptEndMs,
  scriptGonePollMs,
  scriptRetryMs,
  scriptStopMs,
} from '../limits.ts';
import type { StoredDocument } from '../machine-record.ts';
import type { ScriptCount, ScriptService } from './event-scripts.ts';
import { type Script, ScriptBook, type ScriptBookPorts, scriptKey } from './script-book.ts';
import { type Run, ScriptQueue, type ScriptQueuePorts, runDocument } from './script-queue.ts';

export type { ScriptBookPorts } from './script-book.ts';
export { findScriptUser } from './script-user.ts';

/** Events looked at before what they run is stored. */
const pageEvents = 100;
const cursorKind = 'scriptCursor';
const skipsKind = 'scriptSkips';

/** Events a script was not run for, not told yet. */
interface Skips {
  readonly script: Script;
  readonly skipped: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
}

/** What scripts work with. */
export type ScriptPorts = ScriptBookPorts & ScriptQueuePorts;

/** All scripts of a server. `load`, `start`, `stop`. */
export class Scripts implements ScriptService {
  readonly #ports: ScriptPorts;
  readonly #book: ScriptBook;
  readonly #queue: ScriptQueue;
  readonly #closing = new AbortController();
  readonly #skips = new Map<string, Skips>();
  #reading: Promise<void> = Promise.resolve();
  #progress: 'loaded' | 'starting' | 'reading' = 'loaded';
  #skipped = 0;
  #cursor = 0;
  #storedCursor = 0;

  constructor(ports: ScriptPorts) {
    this.#ports = ports;
    this.#book = new ScriptBook(ports);
    this.#queue = new ScriptQueue(ports, (script) => void this.#tellSkips(scriptKey(script)));
  }

  /** Takes what is stored; call it before the first event of this start. Nothing runs yet. */
  async load(): Promise<void> {
    const { store, log } = this.#ports;
    await this.#book.load();
    await this.#queue.load();
    for (const { key, value } of await store.loadDocuments(skipsKind)) this.#skips.set(key, value as Skips);
    const [cursor] = await store.loadDocuments(cursorKind);
    this.#cursor = cursor === undefined ? log.state().lastSeq : (cursor.value as { seq: number }).seq;
    this.#storedCursor = this.#cursor;
    await this.#dropDisabled();
  }

  /** Ends what a service that was killed left running, then begins to run. */
  async start(): Promise<void> {
    const { directory, logger } = this.#ports;
    this.#progress = 'starting';
    try {
      const killed = await this.#queue.clearLeftovers();
      if (killed > 0) logger.warn({ killed }, 'processes of scripts were left by a service that was killed');
    } catch (error) {
      logger.warn({ err: error, directory }, 'what scripts left could not be cleared away');
    }
    if (this.#closing.signal.aborted) return;
    this.#progress = 'reading';
    this.#queue.open();
    for (const key of this.#skips.keys()) if (this.#queue.pending(key) === 0) void this.#tellSkips(key);
    this.#reading = this.#read();
  }

  /**
   * Waits for what was told by now to be run, for a short time; then ends what runs. What did not end is run again
   * after the next start. Idempotent.
   */
  async stop(): Promise<void> {
    const { clock, log, store } = this.#ports;
    if (this.#closing.signal.aborted) return;
    const { lastSeq } = log.state();
    const untilMs = clock.monotonicMs() + scriptStopMs;
    const isDone = (): boolean =>
      this.#progress === 'loaded' ||
      !log.state().writable ||
      (this.#progress === 'reading' && this.#cursor >= lastSeq && this.#queue.isIdle);
    while (!isDone() && clock.monotonicMs() < untilMs) await clock.sleep(scriptGonePollMs);
    this.#closing.abort();
    const inTime = new AbortController();
    const end = async (): Promise<void> => {
      await this.#queue.close();
      await this.#reading;
      if (this.#cursor !== this.#storedCursor) await store.putDocuments([cursorDocument(this.#cursor)]);
    };
    // A disk that is full must not hold up the end of the service: what is not recorded is run again.
    await Promise.race([end().catch(() => undefined), clock.sleep(scriptEndMs, inTime.signal)]);
    inTime.abort();
  }

  list(vm?: string | null): ScriptInfo[] {
    const vmId = vm === undefined ? undefined : this.#book.vmIdOf(vm);
    return this.#book.list(vmId).map((script) => this.#describe(script));
  }

  fetch(vm: string | null, eventType: string): ScriptInfo {
    return this.#describe(this.#book.fetch(vm, eventType));
  }

  async attach(vm: string | null, eventType: string, request: unknown): Promise<ScriptInfo> {
    return this.#describe(await this.#book.attach(vm, eventType, request));
  }

  async remove(vm: string | null, eventType: string): Promise<void> {
    const script = this.#book.fetch(vm, eventType);
    const key = scriptKey(script);
    await this.#book.remove(script, this.#forgetting(key));
    // What was stored for it as it was removed came into the queue since.
    const documents = this.#forget(key);
    if (documents.length > 0) await this.#ports.store.putDocuments(documents);
  }

  settings(): ScriptSettings {
    return this.#book.settings;
  }

  counts(): ScriptCount {
    return { ...this.#queue.counts(), skipped: this.#skipped };
  }

  async changeSettings(change: unknown): Promise<ScriptSettings> {
    await this.#book.changeSettings(change);
    await this.#dropDisabled();
    return this.#book.settings;
  }

  /** What waits for scripts that are switched off is for nobody. */
  async #dropDisabled(): Promise<void> {
    const off = this.#book.list(undefined).filter((script) => !this.#book.isOn(script));
    const documents = off.flatMap((script) => this.#forget(scriptKey(script)));
    if (documents.length > 0) await this.#ports.store.putDocuments(documents);
  }

  #describe(script: Script): ScriptInfo {
    return this.#book.describe(script, this.#queue.pending(scriptKey(script)));
  }

  /** Drops what waits for a script, and the skips that are not told. The documents make that last. */
  #forget(key: string): StoredDocument[] {
    const documents = this.#forgetting(key);
    this.#skips.delete(key);
    this.#queue.drop(key);
    return documents;
  }

  #forgetting(key: string): StoredDocument[] {
    const skips = this.#skips.has(key) ? [{ kind: skipsKind, key, value: null }] : [];
    return [...this.#queue.dropping(key), ...skips];
  }

  async #read(): Promise<void> {
    const { clock, log, logger } = this.#ports;
    const { signal } = this.#closing;
    while (!signal.aborted) {
      const stream = openStream(log, { after: this.#cursor, signal, maxBuffered: pageEvents });
      try {
        for (;;) {
          const page = await stream.next();
          if (page.length === 0) break;
          await this.#take(page);
        }
      } catch (error) {
        if (error instanceof VmError && error.code === 'VMPULSE_E_CURSOR_EXPIRED') await this.#skipGone();
        else logger.warn({ err: error }, 'events could not be read for scripts; trying again');
        await clock.sleep(scriptRetryMs, signal);
      } finally {
        stream.close();
      }
    }
  }

  /** Stores what a page of events runs, and then lets it run. Errors: VMPULSE_E_LOG_UNAVAILABLE. */
  async #take(page: readonly VmEvent[]): Promise<void> {
    const runs: Run[] = [];
    const documents: StoredDocument[] = [];
    const counts = new Map<string, number>();
    const skips = new Map<string, Skips>();
    const gone: string[] = [];
    for (const event of page) {
      for (const script of this.#book.matching(event)) {
        const key = scriptKey(script);
        const count = counts.get(key) ?? this.#queue.pending(key);
        if (count >= maxScriptQueue) {
          const before = skips.get(key) ?? this.#skips.get(key) ?? { skipped: 0, firstSeq: event.seq };
          skips.set(key, { ...before, script, skipped: before.skipped + 1, lastSeq: event.seq });
          continue;
        }
        counts.set(key, count + 1);
        runs.push({ script, event, attempt: 0 });
      }
      if (isEvent(event, 'vmDeleted') && event.data.vm !== undefined) {
        documents.push(...this.#book.forget(event.data.vm.id));
        gone.push(event.data.vm.id);
      }
    }
    documents.push(...runs.map((run) => runDocument(run)));
    for (const [key, value] of skips) documents.push({ kind: skipsKind, key, value });
    const next = page.at(-1)?.seq ?? this.#cursor;
    if (documents.length > 0 || next - this.#storedCursor >= scriptCursorStride) {
      await this.#ports.store.putDocuments([...documents, cursorDocument(next)]);
      this.#storedCursor = next;
    }
    for (const vmId of gone) this.#book.forgotten(vmId);
    for (const [key, value] of skips) {
      this.#skipped += value.skipped - (this.#skips.get(key)?.skipped ?? 0);
      this.#skips.set(key, value);
    }
    // In one turn with the queue, which takes the runs at once: a stop waits while either is behind.
    this.#cursor = next;
    await this.#addRuns(runs);
  }

  /** Those whose script was removed or switched off while they were stored run no more. */
  async #addRuns(runs: readonly Run[]): Promise<void> {
    const isGone = ({ script }: Run): boolean =>
      !this.#book.isOn(script) &&
      this.#book.list(script.vmId).some((one) => scriptKey(one) === scriptKey(script));
    const gone = runs.filter(isGone);
    this.#queue.add(runs.filter((run) => !gone.includes(run)));
    if (gone.length > 0) await this.#ports.store.putDocuments(gone.map((run) => runDocument(run, null)));
  }

  /** Tells once for what events a script was not run, when there is room for another. */
  async #tellSkips(key: string): Promise<void> {
    const skips = this.#skips.get(key);
    if (skips === undefined || this.#closing.signal.aborted) return;
    this.#skips.delete(key);
    const { script, ...rest } = skips;
    const draft: EventDraft = {
      type: 'scriptsSkipped',
      timeMs: this.#ports.clock.wallMs(),
      data: {
        messageId: messageIds.scriptsSkipped,
        reason: 'tooMany',
        scope: script.vmId === null ? 'server' : 'vm',
        trigger: script.trigger,
        ...rest,
      },
    };
    await this.#append(draft, [{ kind: skipsKind, key, value: null }]);
  }

  /** Events were removed from the log before they were looked at. */
  async #skipGone(): Promise<void> {
    const firstSeq = this.#cursor + 1;
    const { oldestSeq, lastSeq: newest } = this.#ports.log.state();
    // A log that was set back (a restored copy) has less than was read of it.
    this.#cursor = this.#cursor > newest ? newest : Math.max(this.#cursor, oldestSeq - 1);
    const lastSeq = this.#cursor;
    if (lastSeq < firstSeq) return;
    this.#skipped += lastSeq - firstSeq + 1;
    const draft: EventDraft = {
      type: 'scriptsSkipped',
      timeMs: this.#ports.clock.wallMs(),
      data: {
        messageId: messageIds.scriptsSkipped,
        reason: 'eventsGone',
        scope: null,
        trigger: null,
        skipped: lastSeq - firstSeq + 1,
        firstSeq,
        lastSeq,
      },
    };
    await this.#append(draft, [cursorDocument(this.#cursor)]);
  }

  async #append(draft: EventDraft, documents: readonly StoredDocument[]): Promise<void> {
    try {
      await this.#ports.log.append(draft, { documents });
    } catch (error) {
      this.#ports.logger.warn({ err: error }, 'that scripts were not run could not be recorded');
    }
  }
}

function cursorDocument(seq: number): StoredDocument {
  return { kind: cursorKind, key: 'cursor', value: { seq } };
}
