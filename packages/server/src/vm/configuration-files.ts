/** The files a machine needs, looked at before it is started, so that the error names the path. */
import { access, constants, stat } from 'node:fs/promises';
import { VmError, type CompleteVmConfiguration } from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import { fileCheckTimeoutMs } from '../limits.ts';

/**
 * Errors: E_FILE_NOT_FOUND, E_ACCESSDENIED, VM_E_TIMED_OUT, each with the path in its sentence and the field.
 * The files are looked at together; the first in the configuration's order is told.
 */
export async function checkFiles(configuration: CompleteVmConfiguration, clock: Clock): Promise<void> {
  const { boot, disks } = configuration;
  const wanted: { path: string; field: string; what: string; writable: boolean }[] = [];
  if (boot !== null)
    wanted.push({ path: boot.kernel, field: '/boot/kernel', what: 'kernel', writable: false });
  if (boot?.initrd !== undefined) {
    wanted.push({ path: boot.initrd, field: '/boot/initrd', what: 'initrd', writable: false });
  }
  for (const [index, { file, readOnly }] of disks.entries()) {
    wanted.push({
      path: file,
      field: `/disks/${index}/file`,
      what: 'disk image',
      writable: readOnly !== true,
    });
  }
  const results = await Promise.allSettled(
    wanted.map(({ path, field, what, writable }) =>
      withDeadline(clock, checkFile(path, field, what, writable), fileCheckTimeoutMs, () => {
        const detail = `Looking at the ${what} ${path} took longer than ${fileCheckTimeoutMs / 1000} s`;
        return new VmError('VM_E_TIMED_OUT', `${detail}; see whether its file system answers.`, { field });
      }),
    ),
  );
  for (const result of results) if (result.status === 'rejected') throw VmError.from(result.reason);
}

async function checkFile(path: string, field: string, what: string, writable: boolean): Promise<void> {
  try {
    const mode = writable ? constants.R_OK | constants.W_OK : constants.R_OK;
    const [found] = await Promise.all([stat(path), access(path, mode)]);
    if (!found.isDirectory()) return;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
      const right = writable ? 'read and write' : 'read';
      const detail = `vmpulse may not ${right} the ${what} ${path}; give its account the permission.`;
      throw new VmError('E_ACCESSDENIED', detail, { field, cause: error });
    }
    const detail = `There is no ${what} ${path}; put it there or change the machine's configuration.`;
    throw new VmError('E_FILE_NOT_FOUND', detail, { field, cause: error });
  }
  throw new VmError('E_FILE_NOT_FOUND', `The ${what} ${path} is a directory; name a file.`, { field });
}
