/**
 * Guests as the host sees them on their sockets, in a process of its own so that their work is not counted as
 * vmpulse's: each has the port of a ticker, one of a guest agent that answers as qemu-ga does, and a QEMU monitor.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Ticks carry the monotonic time at which they were written, in microseconds, in place of the guest's uptime. Told
 * `silence N` on its standard input, the first N guests tick and answer no more; told `speak`, all do again.
 */
const script = `
  const [folder, guests, intervalMs, ticker, together] = process.argv.slice(1);
  const net = require('node:net');
  const sockets = Array.from({ length: Number(guests) }, () => new Set());
  let [listening, silent, connected] = [0, 0, 0];
  const ready = () => { if (++listening === 3 * guests) console.log('listening'); };
  const micros = () => process.hrtime.bigint() / 1000n;
  for (let guest = 0; guest < guests; guest++) {
    require('node:fs').mkdirSync(folder + '/' + guest);
    net.createServer((socket) => {
      sockets[guest].add(socket);
      socket.write('hello v=1 version=1.0.0 interval_ms=' + intervalMs + ' os=Linux host=guest-' + guest + '\\n');
      socket.on('error', () => undefined).on('close', () => sockets[guest].delete(socket));
    }).listen(folder + '/' + guest + '/heartbeat.sock', ready);
    net.createServer((socket) => {
      socket.on('error', () => undefined).on('data', (chunk) => {
        if (guest < silent) return;
        for (const line of chunk.toString('latin1').split('\\n')) {
          const text = line.replace(/^[^{]*/, '');
          if (text === '') continue;
          const command = JSON.parse(text);
          const sync = command.execute === 'guest-sync-delimited';
          if (sync) socket.write(Buffer.from('\\xff{"return": ' + command.arguments.id + '}\\n', 'latin1'));
          else if (command.execute === 'guest-fsfreeze-status') socket.write('{"return": "thawed"}\\n');
          else socket.write('{"return": {}}\\n');
        }
      });
    }).listen(folder + '/' + guest + '/agent.sock', ready);
    net.createServer((socket) => {
      socket.on('error', () => undefined);
      const qemu = { micro: 0, minor: 2, major: 7 };
      socket.write(JSON.stringify({ QMP: { version: { qemu, package: '' }, capabilities: [] } }) + '\\r\\n');
      let rest = '';
      socket.on('data', (chunk) => {
        const lines = (rest + chunk).split('\\n');
        rest = lines.pop();
        for (const line of lines) {
          const { id, execute } = JSON.parse(line);
          const answers = {
            'query-status': { status: 'running', singlestep: false, running: true },
            'query-blockstats': [{ device: 'd0', stats: { rd_operations: 1, wr_operations: 1, flush_operations: 1 } }],
          };
          socket.write(JSON.stringify({ return: answers[execute] ?? {}, id }) + '\\r\\n');
        }
      });
    }).listen(folder + '/' + guest + '/qmp.sock', ready);
  }
  let seq = 0;
  // Ticks are spread over the interval, as those of guests that know nothing of each other, but for some at its start.
  if (ticker === '1') for (let guest = 0; guest < guests; guest++) {
    setTimeout(() => setInterval(() => {
      if (guest < silent) return;
      for (const socket of sockets[guest]) socket.write('tick ' + (seq++) + ' ' + micros() + '\\n');
    }, Number(intervalMs)), guest < together ? 0 : (guest * 7919 % guests) * intervalMs / guests);
  }
  process.stdin.on('data', (text) => {
    const silence = /silence (\\d+)/.exec(text);
    silent = silence === null ? 0 : Number(silence[1]);
  });
  process.stdin.on('end', () => process.exit(0));
`;

/** Some guests and their sockets. */
export class RecordedGuests {
  readonly folder: string;
  private readonly child: ChildProcess;

  private constructor(folder: string, child: ChildProcess) {
    this.folder = folder;
    this.child = child;
  }

  /** Resolves when all of them listen. The first `together` of them tick in the same moment. */
  static async start(
    guests: number,
    intervalMs: number,
    ticker: boolean,
    together = 0,
  ): Promise<RecordedGuests> {
    const folder = await mkdtemp(join(tmpdir(), 'guests-'));
    const args = ['-e', script, folder, ...[guests, intervalMs, ticker ? 1 : 0, together].map(String)];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    return new RecordedGuests(folder, child);
  }

  /** Directory of a guest: heartbeat.sock, agent.sock and qmp.sock are in it, as QEMU makes them. */
  directory(guest: number): string {
    return join(this.folder, String(guest));
  }

  /** The first `count` of them tick and answer no more. */
  silence(count: number): void {
    this.child.stdin?.write(`silence ${count}\n`);
  }

  async end(): Promise<void> {
    this.child.kill('SIGKILL');
    await rm(this.folder, { recursive: true, force: true });
  }
}
