/** From an address to a link: what is checked, and the first question, who is there. */
import { VmError } from '@vmpulse/wire';
import { defaultTimeoutMs, maxReconnectDelayMs, minReconnectDelayMs, streamIdleTimeoutMs } from './limits.ts';
import { Link } from './link.ts';
import { type FetchFunction, Transport } from './transport.ts';

/** How to connect. */
export interface ConnectOptions {
  /** Bearer token; required on TCP. The server keeps it in `DIR/token`. */
  token?: string;
  /** Deadline of each request, ms; default 30,000. */
  timeoutMs?: number;
  /** Ends the attempt to connect with E_ABORT. */
  signal?: AbortSignal;
  /** Instead of the platform's `fetch`. */
  fetch?: FetchFunction;
  /** Delays before a lost event stream is opened again, ms; default 250 doubling up to 10,000, with jitter. */
  reconnect?: { minDelayMs?: number; maxDelayMs?: number };
  /** An event stream without a byte for this long counts as dead, ms; default 45,000 (one comes each 15 s). */
  streamIdleTimeoutMs?: number;
}

/**
 * A link to a server that has answered. `onClose` is called when it is closed, and when this fails.
 * Errors: VMPULSE_E_UNREACHABLE, VM_E_TIMED_OUT, VMPULSE_E_UNAUTHENTICATED, E_ACCESSDENIED, E_ABORT.
 */
export async function openLink(
  baseUrl: string,
  address: string,
  fetch: FetchFunction,
  options: ConnectOptions,
  onClose: () => void = () => undefined,
): Promise<Link> {
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  const transport = new Transport({ baseUrl, address, token: options.token, timeoutMs, fetch });
  const timing = {
    minDelayMs: options.reconnect?.minDelayMs ?? minReconnectDelayMs,
    maxDelayMs: options.reconnect?.maxDelayMs ?? maxReconnectDelayMs,
    idleTimeoutMs: options.streamIdleTimeoutMs ?? streamIdleTimeoutMs,
  };
  const link = new Link(transport, timing, onClose);
  try {
    await link.info(options.signal === undefined ? {} : { signal: options.signal });
  } catch (error) {
    link.close();
    throw error;
  }
  return link;
}

/** The base of every URL. Errors: E_INVALIDARG for what is no http or https address. */
export function checkedAddress(address: string): string {
  let url: URL;
  try {
    url = new URL(address);
  } catch (error) {
    const detail = `'${address}' is no address; give one like http://127.0.0.1:7410.`;
    throw new VmError('E_INVALIDARG', detail, { cause: error });
  }
  if (url.protocol === 'unix:') {
    throw new VmError('E_INVALIDARG', 'Unix sockets need Node: use connect of @vmpulse/client/node.');
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new VmError('E_INVALIDARG', `'${address}' is neither http:// nor https://.`);
  }
  return `${url.origin}${url.pathname.replace(/\/+$/u, '')}`;
}
