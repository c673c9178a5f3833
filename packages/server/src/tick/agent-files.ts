/** Small files of a guest, written and read by its agent (guest-file-open, -read, -write, -close). */
import { VmError } from '@vmpulse/wire';
import { nonsense, record } from './agent-answer.ts';

/** What an answer has besides the file's content, as base64, bytes. */
const answerOverheadBytes = 1_024;

/** One command to the agent; its answer. Errors: those of AgentChannel.request. */
type Ask = (
  command: string,
  args: Readonly<Record<string, unknown>>,
  maxAnswerBytes?: number,
) => Promise<unknown>;

/** The files of one guest. Errors of both: those of GuestAgent. */
export class AgentFiles {
  readonly #ask: Ask;

  constructor(ask: Ask) {
    this.#ask = ask;
  }

  /** Writes a file anew. */
  async write(path: string, content: Uint8Array): Promise<void> {
    await this.#with(path, 'w', async (handle) => {
      const written = record(
        await this.#ask('guest-file-write', { handle, 'buf-b64': Buffer.from(content).toString('base64') }),
      );
      if (written?.['count'] === content.length) return;
      throw new VmError('E_FAIL', `The guest took only a part of ${path}; look whether its disk is full.`);
    });
  }

  /** The content, or null when there is no such file. Errors: E_BUFFER_OVERFLOW when it is longer than `maxBytes`. */
  async read(path: string, maxBytes: number): Promise<Uint8Array | null> {
    try {
      return await this.#with(path, 'r', (handle) => this.#content(path, handle, maxBytes));
    } catch (error) {
      const { code, message } = VmError.from(error);
      if (code === 'E_FAIL' && /No such file or directory/.test(message)) return null;
      throw error;
    }
  }

  async #content(path: string, handle: number, maxBytes: number): Promise<Uint8Array> {
    const count = maxBytes + 1;
    const answer = record(
      await this.#ask('guest-file-read', { handle, count }, Math.ceil(count / 3) * 4 + answerOverheadBytes),
    );
    const base64 = answer?.['buf-b64'];
    if (typeof base64 !== 'string') throw nonsense('guest-file-read');
    const content = Buffer.from(base64, 'base64');
    if (content.length <= maxBytes) return content;
    throw new VmError('E_BUFFER_OVERFLOW', `${path} in the guest is longer than ${maxBytes} bytes.`);
  }

  /** Opens, works, closes: also after a failure, so that the agent keeps no handle. */
  async #with<T>(path: string, mode: 'r' | 'w', work: (handle: number) => Promise<T>): Promise<T> {
    const handle = await this.#ask('guest-file-open', { path, mode });
    if (!Number.isSafeInteger(handle)) throw nonsense('guest-file-open');
    let result: T;
    try {
      result = await work(handle as number);
    } catch (error) {
      await this.#ask('guest-file-close', { handle }).catch(() => undefined);
      throw error;
    }
    // What was written is in the file only now.
    await this.#ask('guest-file-close', { handle });
    return result;
  }
}
