/**
 * The runs of scripts. Kept here:
 *  1. A run is stored before it waits, and removed by the event that tells how it ended: a service that is killed in
 *     between runs it again, and the attempt is counted before it begins.
 *  2. One at a time for each script, in order of seq; so many at once in all, the scripts taking turns.
 */
import { type EventDraft, type ScriptOutcome, type VmEvent, messageIds } from '@vmpulse/wire';
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import { maxRunningScripts, maxScriptAttempts, scriptRetryMs, scriptTermMs } from '../limits.ts';
import type { DocumentStore, StoredDocument } from '../machine-record.ts';
import { type Script, scriptKey } from './script-book.ts';
import { scriptEnvironment } from './script-environment.ts';
import { RunDirectories } from './script-directory.ts';
import { allProcesses } from './script-leftovers.ts';
import { type ScriptResult, runScript } from './script-process.ts';
import type { ScriptUser } from './script-user.ts';

/** What the queue works with. */
export interface ScriptQueuePorts {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly store: DocumentStore;
  readonly logger: Pick<Logger, 'warn'>;
  /** The runs' directories are made in it. */
  readonly directory: string;
  /** As whom scripts run; undefined: as the service. */
  readonly user?: ScriptUser;
  /** From SIGTERM to SIGKILL; default 5 s. */
  readonly termMs?: number;
  /** Is told how each run ended. */
  readonly observe?: (outcome: ScriptOutcome, durationMs: number) => void;
}

/** One run that is to be: self-contained, for its script may be gone with its machine by then. */
export interface Run {
  readonly script: Script;
  readonly event: VmEvent;
  /** Attempts begun. */
  attempt: number;
}

const runKind = 'scriptRun';

const messageIdOf = {
  ok: messageIds.scriptOk,
  failed: messageIds.scriptFailed,
  timedOut: messageIds.scriptTimedOut,
  notStarted: messageIds.scriptNotStarted,
} as const;

/** The document of a run; null removes it. */
export function runDocument(run: Run, value: Run | null = run): StoredDocument {
  return { kind: runKind, key: `${scriptKey(run.script)}/${run.event.seq}`, value };
}

/** No end of the service is waited for any more. */
function cutOff({ attempt }: Run): ScriptResult {
  const detail = `the service ended during each of ${attempt} attempts; it is not run again`;
  return { outcome: 'notStarted', exitStatus: null, signal: null, durationMs: 0, output: '', detail };
}

/** Runs that wait and run. */
export class ScriptQueue {
  readonly #ports: ScriptQueuePorts;
  readonly #ended: (script: Script) => void;
  readonly #directories: RunDirectories;
  readonly #stopping = new AbortController();
  /** By script; those that ran last come last. */
  readonly #waiting = new Map<string, Run[]>();
  readonly #running = new Map<string, Promise<void>>();
  #isOpen = false;
  #runs = 0;

  /** `ended` is told after each run, when there is room for another. */
  constructor(ports: ScriptQueuePorts, ended: (script: Script) => void) {
    this.#ports = ports;
    this.#ended = ended;
    this.#directories = new RunDirectories({ ...ports, serverId: ports.log.serverId });
  }

  /** Ends and removes what a service that was killed left. Resolves with how many processes there were. */
  clearLeftovers(): Promise<number> {
    return this.#directories.clear();
  }

  /** Takes what is stored, and does not begin. */
  async load(): Promise<void> {
    const stored = await this.#ports.store.loadDocuments(runKind);
    const runs = stored.map(({ value }) => value as Run);
    this.#enqueue(runs.toSorted((a, b) => a.event.seq - b.event.seq));
  }

  /** Begins. */
  open(): void {
    this.#isOpen = true;
    this.#begin();
  }

  /** Takes runs that are stored. */
  add(runs: readonly Run[]): void {
    this.#enqueue(runs);
    this.#begin();
  }

  /** Events a script has yet to be run for, the one it runs for included. */
  pending(key: string): number {
    return (this.#waiting.get(key)?.length ?? 0) + (this.#running.has(key) ? 1 : 0);
  }

  /** How many run, and how many events wait. */
  counts(): { readonly running: number; readonly waiting: number } {
    let waiting = 0;
    for (const runs of this.#waiting.values()) waiting += runs.length;
    return { running: this.#running.size, waiting };
  }

  get isIdle(): boolean {
    return this.#waiting.size === 0 && this.#running.size === 0;
  }

  /** Drops what waits for a script; what is under way goes on. The documents of `dropping` make that last. */
  drop(key: string): void {
    this.#waiting.delete(key);
  }

  dropping(key: string): StoredDocument[] {
    return (this.#waiting.get(key) ?? []).map((run) => runDocument(run, null));
  }

  /** Ends what runs; it stays stored, and is run again when the service has started again. */
  async close(): Promise<void> {
    this.#isOpen = false;
    this.#stopping.abort();
    await Promise.all(this.#running.values());
  }

  #enqueue(runs: readonly Run[]): void {
    for (const run of runs) {
      const key = scriptKey(run.script);
      const queue = this.#waiting.get(key);
      if (queue === undefined) this.#waiting.set(key, [run]);
      else queue.push(run);
    }
  }

  #begin(): void {
    if (!this.#isOpen) return;
    for (const [key, queue] of new Map(this.#waiting)) {
      if (this.#running.size >= maxRunningScripts) return;
      if (this.#running.has(key)) continue;
      const run = queue.shift();
      this.#waiting.delete(key);
      if (queue.length > 0) this.#waiting.set(key, queue);
      if (run !== undefined) this.#running.set(key, this.#process(run, key));
    }
  }

  async #process(run: Run, key: string): Promise<void> {
    try {
      const isLast = run.attempt >= maxScriptAttempts;
      if (!isLast) await this.#store(run);
      if (this.#stopping.signal.aborted) return;
      const result = isLast ? cutOff(run) : await this.#execute(run);
      if (this.#stopping.signal.aborted && result.outcome !== 'ok') return;
      this.#ports.observe?.(result.outcome, result.durationMs);
      await this.#ports.log.append(this.#draft(run, result), { documents: [runDocument(run, null)] });
    } catch (error) {
      const message =
        'what a script did could not be recorded; it is run again when the service starts again';
      this.#ports.logger.warn({ err: error, script: key, seq: run.event.seq }, message);
    } finally {
      this.#running.delete(key);
      this.#ended(run.script);
      this.#begin();
    }
  }

  /** The attempt is on disk before it begins. */
  async #store(run: Run): Promise<void> {
    const { clock, store } = this.#ports;
    const { signal } = this.#stopping;
    run.attempt += 1;
    while (!signal.aborted) {
      try {
        await store.putDocuments([runDocument(run)]);
        return;
      } catch {
        await clock.sleep(scriptRetryMs, signal);
      }
    }
  }

  async #execute(run: Run): Promise<ScriptResult> {
    const { clock, log, logger, user, termMs = scriptTermMs } = this.#ports;
    const { script, event, attempt } = run;
    const { trigger } = script;
    this.#runs += 1;
    const name = `${event.seq}-${attempt}-${this.#runs}`;
    let directory: string;
    let before: ReadonlySet<string>;
    try {
      before = await allProcesses();
      directory = await this.#directories.make(name);
    } catch (error) {
      const detail = `its working directory could not be made: ${String(error)}`;
      return { outcome: 'notStarted', exitStatus: null, signal: null, durationMs: 0, output: '', detail };
    }
    const result = await runScript(clock, {
      command: script.command,
      directory,
      environment: scriptEnvironment(event, { trigger, attempt, directory, serverId: log.serverId }),
      input: `${JSON.stringify(event)}\n`,
      timeoutMs: script.timeoutSeconds * 1_000,
      termMs,
      ...(user === undefined ? {} : { user }),
      signal: this.#stopping.signal,
    });
    try {
      await this.#directories.endEscaped(directory, before);
      await this.#directories.remove(directory);
    } catch (error) {
      logger.warn({ err: error, directory }, 'what a script left could not be cleared away');
    }
    return result;
  }

  #draft({ script, event, attempt }: Run, result: ScriptResult): EventDraft {
    return {
      type: 'scriptEnded',
      ...(event.data.vm === undefined ? {} : { vm: event.data.vm }),
      timeMs: this.#ports.clock.wallMs(),
      data: {
        messageId: messageIdOf[result.outcome],
        scope: script.vmId === null ? 'server' : 'vm',
        trigger: script.trigger,
        eventSeq: event.seq,
        executable: script.command[0] ?? '',
        ...result,
        durationMs: Math.round(result.durationMs),
        attempt,
      },
    };
  }
}
