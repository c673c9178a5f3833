/**
 * Where ticks come from. A source records "guest i was alive at t" and passes on what the additions say of
 * themselves; it decides nothing.
 */

/** What a ticker says of itself. Values are the guest's: printable after decoding and at most 256 long, else null. */
export interface Hello {
  readonly protocol: number;
  readonly version: string | null;
  readonly intervalMs: number | null;
  readonly os: string | null;
  readonly host: string | null;
}

/** Why a ticker said bye. */
export type ByeReason = 'shutdown' | 'reboot' | 'stop';

/** Receives what a source hears. Calls are cheap and never throw. */
export interface TickListener {
  onHello(hello: Hello): void;
  /** One heartbeat. `seq` and `uptimeMs` are the guest's word. */
  onTick(seq: number, uptimeMs: number): void;
  onBye(reason: ByeReason): void;
  /** Input that was no line of the protocol was dropped. */
  onRejected(bytes: number): void;
  /** The host's side of the port is connected, or no longer is. */
  onConnection(connected: boolean): void;
}

/** One guest's subscription to a source. */
export interface TickSubscription {
  /** Stops listening; idempotent. No call to the listener comes after it. */
  close(): void;
  /**
   * True while input of the port is known or suspected to be unread although the event loop has polled: it had more
   * than one turn's share, or is throttled. The watermark says nothing of such a guest, so its silence must not be
   * judged; a guest that keeps this true is sending, that is, alive. False while not connected, as `onConnection` told.
   */
  backlogged(): boolean;
}

/** A tick source for ports of one kind. */
export interface TickSource {
  readonly kind: 'ticker' | 'agent';
  /** Listens on the port at `address` (a Unix socket's path), reconnecting until closed. */
  listen(address: string, listener: TickListener): TickSubscription;
}

/** The guest agent of one process, as its watch uses it. No method rejects. */
export interface AgentWitness {
  /** It answered since the guest booted, and the guest did not close its port. */
  readonly present: boolean;
  /** An operator's command is out: that it does not answer says nothing. */
  readonly busy: boolean;
  /** Does it answer within `timeoutMs`? */
  ping(timeoutMs: number): Promise<AgentPing>;
  /** What it says of the guest's file systems; null when it does not say within `timeoutMs`. */
  fileSystems(timeoutMs: number): Promise<'thawed' | 'frozen' | null>;
}

/** What a ping showed. `busy`: another command was out all the time, so the silence says nothing. */
export type AgentPing =
  | { readonly answered: true; readonly latencyMs: number }
  | { readonly answered: false; readonly reason: 'silent' | 'busy' | 'notConnected' };

/** Receives the answers of an agent that is pinged instead of a ticker. Calls are cheap and never throw. */
export interface PulseListener {
  /** How often it is to be pinged, ms; null while it is not (a ticker ticks, or nothing is watched). */
  wantedEveryMs(): number | null;
  /** The agent answered: the guest was alive. */
  onPulse(): void;
}
