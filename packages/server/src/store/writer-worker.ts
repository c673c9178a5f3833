/** The thread that writes. */
import type { WriterCalls } from './protocol.ts';
import { serveCalls } from './thread.ts';
import { Writer } from './writer.ts';

let writer: Writer | undefined;

function opened(): Writer {
  if (writer === undefined) throw new Error('open comes first');
  return writer;
}

serveCalls<WriterCalls>({
  open: ({ file, maxPages }) => {
    writer = new Writer(file);
    if (maxPages !== null) writer.setMaxPages(maxPages);
    return writer.bounds();
  },
  write: (request) => opened().write(request),
  retain: (request) => opened().retain(request),
  restartWal: () => opened().restartWal(),
  maxPages: (pages) => {
    opened().setMaxPages(pages);
    return null;
  },
  close: () => {
    writer?.close();
    return null;
  },
});
