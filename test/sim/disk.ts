/**
 * The store's threads on simulated time: the real writer, reader and copier over a real database file, called in this
 * process. A commit takes as long as the simulated disk says, and is on it at some moment in between: a service killed
 * there may have written what nobody was told.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { openForWriting } from '../../packages/server/src/store/database.ts';
import type {
  Call,
  CheckpointCalls,
  ReaderCalls,
  WriterCalls,
} from '../../packages/server/src/store/protocol.ts';
import { Reader } from '../../packages/server/src/store/reader.ts';
import type { StartThread, Thread } from '../../packages/server/src/store/thread-client.ts';
import type { Handlers } from '../../packages/server/src/store/thread.ts';
import { Writer, walState } from '../../packages/server/src/store/writer.ts';
import type { ServiceLoop } from './loop.ts';
import type { World } from './world.ts';

/** Channels of the store's threads lie beyond those of the guests. */
const firstChannel = 1_000_000;

type AnyHandlers = Readonly<Record<string, (request: unknown) => unknown>>;

/** A folder in memory where the host has one: what is measured is the service, not this machine's disk. */
function makeFolder(): string {
  const memory = statSync('/dev/shm', { throwIfNoEntry: false })?.isDirectory() === true;
  return mkdtempSync(join(memory ? '/dev/shm' : tmpdir(), 'vmpulse-sim-'));
}

/** The disk of one simulated host. */
export class Disk {
  readonly directory: string = makeFolder();
  /** Least and most time a commit takes, ms. */
  commitMs: readonly [number, number] = [0.2, 3];
  /** Nothing can be written. */
  full = false;
  /** An event is on it. */
  onEvent: ((seq: number, type: string, vmId: string | null, data: string) => void) | null = null;
  /** The newest event that is on it. */
  committedSeq = 0;
  private readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  /** Threads for one life of the service. `dispose` closes the files, as the end of its process does. */
  threads(loop: ServiceLoop): { startThread: StartThread; dispose: () => void } {
    const open: { close: () => void }[] = [];
    const startThread: StartThread = <C extends Record<keyof C, Call>>(name: string): Thread<C> => {
      const { handlers, dispose } = this.serve(name);
      open.push({ close: dispose });
      const channel = firstChannel + ['writer', 'reader', 'checkpoint'].indexOf(name);
      return new NearThread(this.world, loop, this, channel, handlers);
    };
    return {
      startThread,
      dispose: () => {
        for (const { close } of open) close();
      },
    };
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  private serve(name: string): { handlers: AnyHandlers; dispose: () => void } {
    if (name === 'writer') return this.serveWriter();
    return name === 'reader' ? serveReader() : serveCopier();
  }

  private serveWriter(): { handlers: AnyHandlers; dispose: () => void } {
    let writer: Writer | undefined;
    const dispose = (): void => {
      writer?.close();
      writer = undefined;
    };
    const handlers: Handlers<WriterCalls> = {
      open: ({ file }) => {
        writer = new Writer(file);
        return writer.bounds();
      },
      write: (request) => {
        if (this.full) throw Object.assign(new Error('database or disk is full'), { errcode: 13 });
        const answer = (writer as Writer).write(request);
        this.committedSeq = answer.lastSeq;
        let seq = answer.firstSeq;
        for (const { event } of request.items) {
          if (event === null) continue;
          this.onEvent?.(seq, event.type, event.vmId, event.data);
          seq += 1;
        }
        return answer;
      },
      retain: (request) => (writer as Writer).retain(request),
      restartWal: () => (writer as Writer).restartWal(),
      maxPages: () => null,
      close: () => {
        dispose();
        return null;
      },
    };
    return { handlers: handlers as unknown as AnyHandlers, dispose };
  }
}

function serveReader(): { handlers: AnyHandlers; dispose: () => void } {
  let path = '';
  let reader: Reader | undefined;
  const opened = (): Reader => (reader ??= new Reader(path));
  const dispose = (): void => {
    reader?.close();
    reader = undefined;
  };
  const handlers: Handlers<ReaderCalls> = {
    open: ({ file }) => {
      path = file;
      return null;
    },
    page: (request) => opened().page(request),
    machines: () => opened().machines(),
    holds: () => opened().holds(),
    value: (key) => opened().value(key),
    documents: (kind) => opened().documents(kind),
    close: () => {
      dispose();
      return null;
    },
  };
  return { handlers: handlers as unknown as AnyHandlers, dispose };
}

function serveCopier(): { handlers: AnyHandlers; dispose: () => void } {
  let db: DatabaseSync | undefined;
  const dispose = (): void => {
    db?.close();
    db = undefined;
  };
  const handlers: Handlers<CheckpointCalls> = {
    open: ({ file }) => {
      db = openForWriting(file);
      return null;
    },
    passive: () => walState(db?.prepare('PRAGMA wal_checkpoint(PASSIVE)').get()),
    close: () => {
      dispose();
      return null;
    },
  };
  return { handlers: handlers as unknown as AnyHandlers, dispose };
}

/** A thread that is none: it answers in order, after the time a disk takes. */
class NearThread {
  readonly gone = false;
  waiting = 0;
  private readonly world: World;
  private readonly loop: ServiceLoop;
  private readonly disk: Disk;
  private readonly channel: number;
  private readonly handlers: AnyHandlers;
  private freeMs = 0;

  constructor(world: World, loop: ServiceLoop, disk: Disk, channel: number, handlers: AnyHandlers) {
    this.world = world;
    this.loop = loop;
    this.disk = disk;
    this.channel = channel;
    this.handlers = handlers;
  }

  call(call: string, request: unknown): Promise<unknown> {
    const { world, loop, disk } = this;
    loop.dirty = true;
    this.waiting += 1;
    const startMs = Math.max(world.nowMs, this.freeMs);
    const [least, most] = disk.commitMs;
    this.freeMs = startMs + world.random.between(least, most);
    const workMs = world.random.between(startMs, this.freeMs);
    const answerMs = this.freeMs;
    return new Promise((resolve, reject) => {
      const answer = (told: () => void): void => {
        world.at(answerMs, () => {
          loop.input(this.channel, () => {
            loop.dirty = true;
            this.waiting -= 1;
            told();
          });
        });
      };
      world.at(workMs, () => {
        if (loop.killed) return;
        try {
          const value = this.handlers[call]?.(request);
          answer(() => resolve(value));
        } catch (error) {
          const reason = error as Error;
          answer(() => reject(reason));
        }
      });
    });
  }

  async close(): Promise<void> {
    await this.call('close', null);
  }

  terminate(): Promise<void> {
    this.handlers['close']?.(null);
    return Promise.resolve();
  }
}
