/** The Node entry: all of the client, and Unix sockets, private certificate authorities and token files. */
import { readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { VmError } from '@vmpulse/wire';
import { createNodeFetch } from './node-fetch.ts';
import { type ConnectOptions, checkedAddress, openLink } from './open-link.ts';
import { VirtualServer } from './virtual-server.ts';

export * from './index.ts';

/** How to connect from Node. */
export interface NodeConnectOptions extends Omit<ConnectOptions, 'fetch'> {
  /** File that holds the bearer token, instead of `token`. */
  tokenFile?: string;
  /** Certificate authority to trust, PEM. */
  ca?: string;
}

/**
 * Connects to `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path/to/vmpulse.sock`.
 * Errors: those of VirtualServer.connect; E_FILE_NOT_FOUND or E_ACCESSDENIED for the token's file.
 */
export async function connect(address: string, options: NodeConnectOptions = {}): Promise<VirtualServer> {
  const { tokenFile, ca, ...others } = options;
  const token = others.token ?? (tokenFile === undefined ? undefined : await readToken(tokenFile));
  const socketPath = address.startsWith('unix:') ? shortestPath(address.slice('unix:'.length)) : undefined;
  // The host of a Unix socket's URL is only for the Host header.
  const baseUrl = socketPath === undefined ? checkedAddress(address) : 'http://localhost';
  const { fetch, close } = createNodeFetch({
    ...(socketPath === undefined ? {} : { socketPath }),
    ...(ca === undefined ? {} : { ca }),
  });
  const connectOptions = token === undefined ? others : { ...others, token };
  return new VirtualServer(await openLink(baseUrl, address, fetch, connectOptions, close));
}

/** A socket address has 107 bytes: the path from the working directory may fit where the absolute one does not. */
function shortestPath(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere.length < path.length ? fromHere : path;
}

/** Connects to the server of a data directory, by its socket `DIR/vmpulse.sock`. */
export function connectToDataDirectory(
  directory: string,
  options: NodeConnectOptions = {},
): Promise<VirtualServer> {
  return connect(`unix:${join(directory, 'vmpulse.sock')}`, options);
}

/** The bearer token of a file such as `DIR/token`. Errors: E_FILE_NOT_FOUND, E_ACCESSDENIED, E_INVALIDARG. */
export async function readToken(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const denied = (error as NodeJS.ErrnoException).code === 'EACCES';
    throw new VmError(
      denied ? 'E_ACCESSDENIED' : 'E_FILE_NOT_FOUND',
      denied
        ? `No permission to read the token ${file}; run as its owner.`
        : `The token ${file} cannot be read.`,
      { cause: error },
    );
  }
  const token = text.trim();
  if (token === '' || /[^\x21-\x7e]/u.test(token)) {
    throw new VmError(
      'E_INVALIDARG',
      `${file} holds no token; name the file \`token\` of the data directory.`,
    );
  }
  return token;
}
