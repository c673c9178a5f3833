/** The thread's end of the protocol: answers calls one after the other. */
import { parentPort } from 'node:worker_threads';
import type { ErrorCode } from '@vmpulse/wire';
import type { AnswerMessage, Call, CallMessage, Failure } from './protocol.ts';

/** A failure whose meaning the thread knows; its message says what to do. */
export class StoreError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.name = 'StoreError';
    this.code = code;
  }
}

/** SQLite's primary result code of what was thrown, or null. */
export function sqliteCodeOf(thrown: unknown): number | null {
  const code = (thrown as { errcode?: unknown } | null)?.errcode;
  return typeof code === 'number' ? code & 0xff : null;
}

function failureOf(thrown: unknown): Failure {
  return {
    message: thrown instanceof Error ? thrown.message : String(thrown),
    sqliteCode: sqliteCodeOf(thrown),
    code: thrown instanceof StoreError ? thrown.code : null,
  };
}

/** A handler for each call. */
export type Handlers<C extends Record<keyof C, Call>> = {
  readonly [K in keyof C]: (request: C[K]['request']) => C[K]['answer'];
};

/** Answers every call of the main thread with its handler. */
export function serveCalls<C extends Record<keyof C, Call>>(handlers: Handlers<C>): void {
  const port = parentPort;
  if (port === null) throw new Error('This module runs in a thread of its own.');
  port.on('message', (message: CallMessage) => {
    let reply: AnswerMessage;
    try {
      const handler = handlers[message.call as keyof C] as ((request: unknown) => unknown) | undefined;
      if (handler === undefined) throw new Error(`No such call: ${message.call}`);
      reply = { answer: handler(message.request) };
    } catch (error) {
      reply = { failure: failureOf(error) };
    }
    port.postMessage(reply);
    // The end of the thread: without a listener nothing keeps it.
    if (message.call === 'close') port.close();
  });
}
