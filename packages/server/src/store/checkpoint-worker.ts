/** The thread that copies the write-ahead log into the database, so that no commit has to wait for that. */
import type { DatabaseSync } from 'node:sqlite';
import type { CheckpointCalls } from './protocol.ts';
import { openForWriting } from './database.ts';
import { serveCalls } from './thread.ts';
import { walState } from './writer.ts';

let db: DatabaseSync | undefined;

serveCalls<CheckpointCalls>({
  open: ({ file }) => {
    db = openForWriting(file);
    return null;
  },
  passive: () => walState(db?.prepare('PRAGMA wal_checkpoint(PASSIVE)').get()),
  close: () => {
    db?.close();
    return null;
  },
});
