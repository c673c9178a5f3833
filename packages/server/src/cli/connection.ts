/** From flags and environment to a connected server. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import {
  type VirtualServer,
  VmError,
  connect,
  connectToDataDirectory,
  readToken,
} from '@vmpulse/client/node';
import type { Command } from 'commander';
import type { Terminal } from './terminal.ts';

/** Flags of every command that talks to a server. */
export interface ConnectionFlags {
  data?: string;
  url?: string;
  token?: string;
  tokenFile?: string;
  ca?: string;
  json?: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Where `vmpulse serve` listens on TCP unless told otherwise. */
const defaultUrl = 'http://127.0.0.1:7410';

/** root: `/var/lib/vmpulse`; anyone else: `$XDG_DATA_HOME/vmpulse`, else `~/.local/share/vmpulse`. */
export function defaultDataDirectory(
  env: Environment = process.env,
  uid: number | undefined = process.getuid?.(),
): string {
  if (uid === 0) return '/var/lib/vmpulse';
  const base = env['XDG_DATA_HOME'];
  // The XDG specification has relative paths ignored.
  if (base !== undefined && base.startsWith('/')) return join(base, 'vmpulse');
  return join(env['HOME'] ?? homedir(), '.local', 'share', 'vmpulse');
}

/** What to connect to. */
export type Target =
  | { readonly kind: 'data'; readonly directory: string; readonly token: string | undefined }
  | {
      readonly kind: 'url';
      readonly url: string;
      readonly token: string | undefined;
      readonly tokenFile: string;
    };

/**
 * A flag beats the environment. `--url` beats `--data`; a token alone means the default URL. A token of the data
 * directory is only ever sent to this host.
 */
export function chooseTarget(
  flags: ConnectionFlags,
  env: Environment,
  workingDirectory: string,
  uid?: number,
): Target {
  const given = (name: string): string | undefined => (env[name] === '' ? undefined : env[name]);
  const token = flags.token ?? (flags.tokenFile === undefined ? given('VMPULSE_TOKEN') : undefined);
  const named = flags.data ?? given('VMPULSE_DATA');
  const directory = resolve(workingDirectory, named ?? defaultDataDirectory(env, uid));
  const url = flags.url ?? (flags.data === undefined ? given('VMPULSE_URL') : undefined);
  const alone =
    named === undefined && (token !== undefined || flags.tokenFile !== undefined) ? defaultUrl : undefined;
  const chosen = url ?? alone;
  if (chosen === undefined) return { kind: 'data', directory, token };
  const tokenFile = resolve(workingDirectory, flags.tokenFile ?? join(directory, 'token'));
  return { kind: 'url', url: chosen, token, tokenFile };
}

function isThisHost(url: string): boolean {
  try {
    return ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(url).hostname);
  } catch {
    return false;
  }
}

/** Connects. Errors: those of connect; VMPULSE_E_UNREACHABLE names the data directory and what to do. */
async function openServer(flags: ConnectionFlags, terminal: Terminal): Promise<VirtualServer> {
  const target = chooseTarget(flags, terminal.env, terminal.workingDirectory);
  const signal = terminal.interrupted;
  if (target.kind === 'data') return openDataDirectory(target.directory, target.token, signal);
  if (target.url.startsWith('unix:')) return connect(target.url, { signal });
  const mayRead = flags.tokenFile !== undefined || (isThisHost(target.url) && existsSync(target.tokenFile));
  const token = target.token ?? (mayRead ? await readToken(target.tokenFile) : undefined);
  const ca =
    flags.ca === undefined ? undefined : await readAuthority(resolve(terminal.workingDirectory, flags.ca));
  return connect(target.url, {
    signal,
    ...(token === undefined ? {} : { token }),
    ...(ca === undefined ? {} : { ca }),
  });
}

async function openDataDirectory(
  directory: string,
  token: string | undefined,
  signal: AbortSignal,
): Promise<VirtualServer> {
  try {
    return await connectToDataDirectory(directory, token === undefined ? { signal } : { signal, token });
  } catch (error) {
    if (!(error instanceof VmError) || error.code !== 'VMPULSE_E_UNREACHABLE') throw error;
    const todo =
      'start one with `vmpulse serve`, or name its data directory (--data DIR) or address (--url URL)';
    throw new VmError('VMPULSE_E_UNREACHABLE', `No server answers on ${directory}/vmpulse.sock: ${todo}.`, {
      cause: error,
    });
  }
}

async function readAuthority(file: string): Promise<string> {
  const { readFile } = await import('node:fs/promises');
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new VmError('E_FILE_NOT_FOUND', `The certificate authority ${file} cannot be read.`, {
      cause: error,
    });
  }
}

/** Adds the flags of ConnectionFlags, and an example to the help. */
export function addConnectionFlags(command: Command, example: string): Command {
  return command
    .option('--data <dir>', 'data directory of a server on this host (env VMPULSE_DATA)')
    .option('--url <url>', `address of a server, such as ${defaultUrl} (env VMPULSE_URL)`)
    .option('--token <token>', 'bearer token (env VMPULSE_TOKEN)')
    .option('--token-file <file>', 'file that holds the bearer token')
    .option('--ca <file>', 'certificate authority to trust, PEM')
    .option('--json', 'answer as JSON')
    .addHelpText('after', `\nExample:\n  ${example.replaceAll('\n', '\n  ')}`);
}

/** Connects, does the work, closes. */
export async function withServer(
  flags: ConnectionFlags,
  terminal: Terminal,
  work: (server: VirtualServer) => Promise<void>,
): Promise<void> {
  const server = await openServer(flags, terminal);
  const end = (): void => void server.close();
  // Ctrl-C ends whatever request is under way.
  terminal.interrupted.addEventListener('abort', end, { once: true });
  try {
    await work(server);
  } finally {
    terminal.interrupted.removeEventListener('abort', end);
    await server.close();
  }
}
