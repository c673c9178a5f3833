/** The thread that reads: a long read delays other reads, never a commit. */
import type { ReaderCalls } from './protocol.ts';
import { Reader } from './reader.ts';
import { serveCalls } from './thread.ts';

let path = '';
let reader: Reader | undefined;

/** Opened with the first read: the writer makes the file while this thread starts. */
function opened(): Reader {
  reader ??= new Reader(path);
  return reader;
}

serveCalls<ReaderCalls>({
  open: ({ file }) => {
    path = file;
    return null;
  },
  page: (request) => opened().page(request),
  machines: () => opened().machines(),
  holds: () => opened().holds(),
  value: (key) => opened().value(key),
  documents: (kind) => opened().documents(kind),
  close: () => {
    reader?.close();
    return null;
  },
});
