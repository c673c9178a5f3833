/** As whom scripts run. */
import { execFile } from 'node:child_process';
import { VmError } from '@vmpulse/wire';
import { scriptUserTimeoutMs } from '../limits.ts';

/** Numbers of a user and of its first group. */
export interface ScriptUser {
  readonly uid: number;
  readonly gid: number;
}

/**
 * The user of that name; it has no further groups. `serviceUid`: who the service runs as.
 * Errors: E_INVALIDARG where there is none, E_ACCESSDENIED where the service may not become another.
 */
export async function findScriptUser(
  name: string,
  serviceUid: number | undefined = process.getuid?.(),
): Promise<ScriptUser> {
  if (!/^[a-z_][\w.-]{0,63}\$?$/iu.test(name)) throw unknownUser(name);
  const [uid, gid] = await Promise.all([idOf('-u', name), idOf('-g', name)]);
  if (serviceUid === 0 || serviceUid === uid) return { uid, gid };
  throw new VmError(
    'E_ACCESSDENIED',
    `Scripts cannot be run as '${name}': only a service that root runs may choose their user. ` +
      'Leave --script-user out, and they run as the user of the service.',
  );
}

function idOf(which: '-u' | '-g', name: string): Promise<number> {
  return new Promise((resolve, reject) => {
    execFile('id', [which, '--', name], { timeout: scriptUserTimeoutMs }, (error, stdout) => {
      const id = Number.parseInt(stdout, 10);
      if (error === null && Number.isSafeInteger(id)) resolve(id);
      else reject(unknownUser(name));
    });
  });
}

function unknownUser(name: string): VmError {
  const detail = `There is no user '${name.slice(0, 64)}' on this host to run scripts as; see --script-user.`;
  return new VmError('E_INVALIDARG', detail, { field: '--script-user' });
}
