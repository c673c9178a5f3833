/**
 * The bearer token of a data directory. It is made once, from 32 random bytes, and only its owner may read it: a
 * token that others could read is refused, since they may already have it.
 */
import { createHash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { constants, link, open, unlink } from 'node:fs/promises';
import { VmError } from '@vmpulse/wire';

/** Most bytes read of a token file. */
const maxTokenBytes = 4_096;
const minTokenLength = 32;

const failed = (detail: string, cause?: unknown): VmError =>
  new VmError('VMPULSE_E_DATA_DIRECTORY', detail, cause === undefined ? {} : { cause });

const codeOf = (thrown: unknown): string => (thrown as NodeJS.ErrnoException).code ?? String(thrown);

/** The token at `path`; undefined when there is none. Errors: VMPULSE_E_DATA_DIRECTORY. */
async function readToken(path: string): Promise<string | undefined> {
  let file;
  try {
    // Not through a link, and not held up by a pipe in the file's place.
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return undefined;
    const what = codeOf(cause) === 'ELOOP' ? 'is a symbolic link; put a file there' : `(${codeOf(cause)})`;
    throw failed(`The token ${path} cannot be read: it ${what}.`, cause);
  }
  try {
    const { mode, uid } = await file.stat();
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw failed(`The token ${path} is not a file.`);
    const owners = [0, process.getuid?.() ?? uid];
    if (!owners.includes(uid)) {
      throw failed(`The token ${path} belongs to user ${uid}; chown it to the user vmpulse runs as.`);
    }
    if ((mode & 0o077) !== 0) {
      const octal = (mode & 0o777).toString(8).padStart(4, '0');
      throw failed(
        `Others can read the token ${path} (mode ${octal}). If nobody has: chmod 600 ${path}. ` +
          'Otherwise delete it: the next start makes a new one.',
      );
    }
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxTokenBytes), 0, maxTokenBytes, 0);
    const token = buffer.toString('latin1', 0, bytesRead).trim();
    if (token.length < minTokenLength || !/^[\w.~+/=-]+$/.test(token)) {
      throw failed(
        `The token ${path} is not one: at least ${minTokenLength} characters of A-Z a-z 0-9 - . _ ~ + / = are. ` +
          'Delete it: the next start makes a new one.',
      );
    }
    return token;
  } finally {
    await file.close();
  }
}

/**
 * The token at `path` (`DIR/token`), made on first use. It appears whole or not at all, whatever happens meanwhile.
 * Errors: VMPULSE_E_DATA_DIRECTORY, with what to do.
 */
export async function loadToken(path: string): Promise<string> {
  const present = await readToken(path);
  if (present !== undefined) return present;
  const draft = `${path}.${randomUUID()}`;
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(`${randomBytes(32).toString('base64url')}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    // Unlike rename, link never replaces a token that somebody else made first.
    await link(draft, path).catch((error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error;
    });
  } catch (cause) {
    throw failed(
      `The token ${path} cannot be made (${codeOf(cause)}); see that the directory can be written.`,
      cause,
    );
  } finally {
    await unlink(draft).catch(() => undefined);
  }
  const made = await readToken(path);
  if (made === undefined) throw failed(`The token ${path} vanished while it was made; start again.`);
  return made;
}

/** Compares what clients present with the token, in a time that tells nothing of either. */
export function tokenCheck(token: string): (presented: string) => boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  const expected = digest(token);
  return (presented) => timingSafeEqual(digest(presented), expected);
}
