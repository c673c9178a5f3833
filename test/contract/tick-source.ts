/** What every tick source keeps, whatever carries its ticks. Run against each adapter by tick-source.test.ts. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type {
  ByeReason,
  Hello,
  TickListener,
  TickSource,
  TickSubscription,
} from '../../packages/server/src/tick/source.ts';

/** A tick source and, for one guest, the other end. */
export interface TickSourceHarness {
  readonly source: TickSource;
  readonly address: string;
  /** The machine's process is there: its port can be connected to. Resolves once that is so. */
  open(): Promise<void>;
  /** The machine's process is gone. */
  shut(): Promise<void>;
  /** The guest gives one sign of life. */
  tick(): void;
  /** The guest sends what is none. */
  sendGarbage(bytes: number): void;
  dispose(): Promise<void>;
}

/** A listener that remembers. */
export class RecordingListener implements TickListener {
  readonly ticks: { seq: number; uptimeMs: number; atMs: number }[] = [];
  readonly hellos: Hello[] = [];
  readonly byes: ByeReason[] = [];
  readonly connections: boolean[] = [];
  rejectedBytes = 0;

  onHello(hello: Hello): void {
    this.hellos.push(hello);
  }

  onTick(seq: number, uptimeMs: number): void {
    this.ticks.push({ seq, uptimeMs, atMs: performance.now() });
  }

  onBye(reason: ByeReason): void {
    this.byes.push(reason);
  }

  onRejected(bytes: number): void {
    this.rejectedBytes += bytes;
  }

  onConnection(connected: boolean): void {
    this.connections.push(connected);
  }
}

/** Waits until `condition` holds; fails after two minutes. */
export async function until(condition: () => boolean): Promise<void> {
  await vi.waitFor(
    () => {
      if (!condition()) throw new Error(`this never came to hold: ${condition.toString()}`);
    },
    { timeout: 120_000, interval: 2 },
  );
}

/** The suite. */
export function tickSourceContract(name: string, make: () => Promise<TickSourceHarness>): void {
  describe(`a tick source: ${name}`, () => {
    let harness: TickSourceHarness;
    let listener: RecordingListener;
    let subscription: TickSubscription;

    const listen = (): void => {
      listener = new RecordingListener();
      subscription = harness.source.listen(harness.address, listener);
    };

    beforeEach(async () => {
      harness = await make();
    });

    afterEach(async () => {
      subscription.close();
      await harness.dispose();
    });

    it('tells nothing before there is something to tell', () => {
      listen();
      expect(listener).toEqual(new RecordingListener());
      expect(subscription.backlogged()).toBe(false);
    });

    it('tells once that it is connected, and every tick', async () => {
      await harness.open();
      listen();
      await until(() => listener.connections.length > 0);
      for (let i = 0; i < 5; i++) harness.tick();
      await until(() => listener.ticks.length === 5);
      expect(listener.connections).toEqual([true]);
      expect(listener.rejectedBytes).toBe(0);
    });

    it('connects when the machine starts later', async () => {
      listen();
      await harness.open();
      await until(() => listener.connections.length > 0);
      harness.tick();
      await until(() => listener.ticks.length === 1);
    });

    it('tells that the machine is gone, and hears it again when it is back', async () => {
      await harness.open();
      listen();
      await until(() => listener.connections.length === 1);
      await harness.shut();
      await until(() => listener.connections.length === 2);
      await harness.open();
      await until(() => listener.connections.length === 3);
      harness.tick();
      await until(() => listener.ticks.length === 1);
      expect(listener.connections).toEqual([true, false, true]);
    });

    it('counts what is no sign of life and hears what comes after it', async () => {
      await harness.open();
      listen();
      await until(() => listener.connections.length > 0);
      harness.sendGarbage(10_000);
      harness.tick();
      await until(() => listener.ticks.length === 1);
      expect(listener.rejectedBytes).toBe(10_000);
      await until(() => !subscription.backlogged());
    });

    it('tells nothing any more once it is closed, even from within a call', async () => {
      await harness.open();
      listen();
      await until(() => listener.connections.length > 0);
      const other = new RecordingListener();
      const second = harness.source.listen(`${harness.address}.none`, other);
      const heard = listener.onTick.bind(listener);
      listener.onTick = (seq, uptimeMs) => {
        heard(seq, uptimeMs);
        subscription.close();
        subscription.close();
      };
      for (let i = 0; i < 3; i++) harness.tick();
      await until(() => listener.ticks.length > 0);
      await harness.shut();
      await harness.open();
      second.close();
      expect(listener.ticks).toHaveLength(1);
      expect(listener.connections).toEqual([true]);
      expect(subscription.backlogged()).toBe(false);
      expect(other).toEqual(new RecordingListener());
    });
  });
}
