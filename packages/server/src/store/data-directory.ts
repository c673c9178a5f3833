/** The data directory: made, checked, and held by one process at a time. */
import { accessSync, constants, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { VmError } from '@vmpulse/wire';

/** A held data directory. */
export interface DirectoryLock {
  release(): void;
}

const sqliteBusy = 5;

/** Makes `directory` (0700) where it is missing. Errors: VMPULSE_E_DATA_DIRECTORY. */
export function prepareDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (!statSync(directory).isDirectory()) throw new Error('it is not a directory');
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new VmError(
      'VMPULSE_E_DATA_DIRECTORY',
      `The data directory ${directory} cannot be used (${(error as Error).message}). Give the user that runs vmpulse ` +
        'write permission to it, or name another one with --data.',
      { cause: error },
    );
  }
}

function holder(directory: string): string {
  try {
    const pid = Number.parseInt(readFileSync(join(directory, 'vmpulse.pid'), 'utf8'), 10);
    return Number.isNaN(pid) ? 'another process' : `process ${pid}`;
  } catch {
    return 'another process';
  }
}

/**
 * Holds `directory` for the life of this process: an exclusive lock of SQLite's on `vmpulse.lock`, which the kernel
 * takes back however the process ends. Nobody else may open that file here: closing it would give the lock away
 * (POSIX locks belong to the process), which is why the pid stands in a file of its own, and only to be told.
 * Errors: VMPULSE_E_DATA_DIRECTORY_IN_USE, VMPULSE_E_DATA_DIRECTORY.
 */
export function lockDirectory(directory: string): DirectoryLock {
  const file = join(directory, 'vmpulse.lock');
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(file, { timeout: 0 });
    db.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
  } catch (error) {
    db?.close();
    if ((error as { errcode?: number }).errcode === sqliteBusy) {
      throw new VmError(
        'VMPULSE_E_DATA_DIRECTORY_IN_USE',
        `The data directory ${directory} is in use by ${holder(directory)}, another vmpulse. Stop that one, or name ` +
          'another directory with --data.',
        { cause: error },
      );
    }
    throw new VmError(
      'VMPULSE_E_DATA_DIRECTORY',
      `${file} cannot be locked (${(error as Error).message}). Remove that file if no vmpulse runs, or name another ` +
        'directory with --data.',
      { cause: error },
    );
  }
  try {
    writeFileSync(join(directory, 'vmpulse.pid'), `${process.pid}\n`);
  } catch {
    // A full disk: the lock counts, the pid is only told.
  }
  const held = db;
  return { release: () => held.close() };
}
