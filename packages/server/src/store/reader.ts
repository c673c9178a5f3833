/**
 * Pages of events out of the database, through a connection that cannot write. Each page is one snapshot: what is not
 * committed is not in it. A filtered page looks through a bounded number of blocks and says how far it came.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { ReadRow, ReaderCalls } from './protocol.ts';
import { blockBits } from './schema.ts';
import { busyTimeoutMs, maxBlocksPerRead, maxPageBytes } from './store-limits.ts';

type PageRequest = ReaderCalls['page']['request'];
type PageAnswer = ReaderCalls['page']['answer'];

const columns = 'seq, type, vm_id, vm_name, time_ms, data';

/** The reading connection. */
export class Reader {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  readonly #maxBlocks: number;

  constructor(file: string, maxBlocks: number = maxBlocksPerRead) {
    this.#maxBlocks = maxBlocks;
    this.#db = new DatabaseSync(file, { readOnly: true, timeout: busyTimeoutMs });
  }

  /** Events after `after`, as many as fit; `next` is the last seq looked at. */
  page(request: PageRequest): PageAnswer {
    this.#db.exec('BEGIN');
    try {
      const bounds = this.#prepare(
        'SELECT deleted_through, (SELECT max(seq) FROM events) AS last FROM log',
      ).get();
      const deletedThrough = Number(bounds?.['deleted_through']);
      const lastSeq = Math.max(Number(bounds?.['last'] ?? 0), deletedThrough);
      const isOutside = request.after < deletedThrough || request.after >= lastSeq;
      const found = isOutside ? { rows: [], next: request.after } : this.#find(request, lastSeq);
      return { ...found, deletedThrough, lastSeq };
    } finally {
      this.#db.exec('ROLLBACK');
    }
  }

  /** All stored machines, with states and open conditions. */
  machines(): ReaderCalls['machines']['answer'] {
    this.#db.exec('BEGIN');
    try {
      const machines = this.#prepare(
        'SELECT vm_id AS vmId, record, state FROM machines LEFT JOIN machine_states USING (vm_id) ORDER BY vm_id',
      ).all();
      const conditions = this.#prepare(
        'SELECT vm_id AS vmId, condition, seq, since_ms AS sinceMs, verdict FROM conditions ORDER BY seq',
      ).all();
      return { machines, conditions } as unknown as ReaderCalls['machines']['answer'];
    } finally {
      this.#db.exec('ROLLBACK');
    }
  }

  /** All holds that were begun and have not ended. */
  holds(): ReaderCalls['holds']['answer'] {
    const rows = this.#prepare(
      'SELECT vm_id AS vmId, reason, since_ms AS sinceMs, until_ms AS untilMs FROM holds ORDER BY vm_id',
    ).all();
    return rows as unknown as ReaderCalls['holds']['answer'];
  }

  /** A value of the server's own. */
  value(key: string): string | null {
    const row = this.#prepare('SELECT value FROM server_values WHERE key = ?').get(key);
    return row === undefined ? null : String(row['value']);
  }

  /** All documents of a kind, by key. */
  documents(kind: string): ReaderCalls['documents']['answer'] {
    const rows = this.#prepare('SELECT key, value FROM documents WHERE kind = ? ORDER BY key').all(kind);
    return rows as unknown as ReaderCalls['documents']['answer'];
  }

  close(): void {
    this.#db.close();
  }

  #find(request: PageRequest, lastSeq: number): { rows: ReadRow[]; next: number } {
    if (request.vmId === null && request.types === null) {
      const statement = this.#prepare(`SELECT ${columns} FROM events WHERE seq > ? ORDER BY seq LIMIT ?`);
      const rows = take(statement, [request.after, request.limit]);
      return { rows, next: rows.at(-1)?.[0] ?? lastSeq };
    }
    const { statement, parameters } = this.#filtered(request);
    const rows: ReadRow[] = [];
    const firstBlock = Math.floor((request.after + 1) / 2 ** blockBits);
    const lastBlock = Math.floor(lastSeq / 2 ** blockBits);
    const endBlock = Math.min(lastBlock, firstBlock + this.#maxBlocks - 1);
    let bytes = 0;
    for (let block = firstBlock; block <= endBlock; block += 1) {
      const room = request.limit - rows.length;
      const found = take(statement, [block, ...parameters, request.after, room], maxPageBytes - bytes);
      for (const row of found) bytes += row[5].length;
      rows.push(...found);
      // Not all of this block may have been looked at: go on behind the last row.
      if (rows.length >= request.limit || bytes >= maxPageBytes) return { rows, next: rows.at(-1)?.[0] ?? 0 };
    }
    return { rows, next: endBlock === lastBlock ? lastSeq : (endBlock + 1) * 2 ** blockBits - 1 };
  }

  #filtered({ vmId, types }: PageRequest): { statement: StatementSync; parameters: string[] } {
    const index = vmId === null ? 'events_by_type' : 'events_by_vm';
    const marks = types?.map(() => '?').join(', ');
    const statement = this.#prepare(
      `SELECT ${columns} FROM events INDEXED BY ${index} WHERE seq >> ${blockBits} = ?` +
        (vmId === null ? '' : ' AND vm_id = ?') +
        (types === null ? '' : ` AND type IN (${marks})`) +
        ' AND seq > ? ORDER BY seq LIMIT ?',
    );
    return { statement, parameters: [...(vmId === null ? [] : [vmId]), ...(types ?? [])] };
  }

  /** The number of different texts is bounded: it depends on the number of types only. */
  #prepare(text: string): StatementSync {
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = this.#db.prepare(text);
      this.#statements.set(text, statement);
    }
    return statement;
  }
}

/** Rows until `maxBytes` of data are reached, at least one. */
function take(
  statement: StatementSync,
  parameters: (string | number)[],
  maxBytes: number = maxPageBytes,
): ReadRow[] {
  const rows: ReadRow[] = [];
  let bytes = 0;
  for (const row of statement.iterate(...parameters)) {
    const data = String(row['data']);
    rows.push([
      Number(row['seq']),
      String(row['type']),
      row['vm_id'] as string | null,
      row['vm_name'] as string | null,
      Number(row['time_ms']),
      data,
    ]);
    bytes += data.length;
    if (bytes >= maxBytes) break;
  }
  return rows;
}
