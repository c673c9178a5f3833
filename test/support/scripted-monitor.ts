/** A QEMU's monitor for tests: it greets and answers as its script says. */
import { createServer, type Server, type Socket } from 'node:net';

const greeting =
  '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}\r\n';

/** A command as it came. */
export type Command = { execute: string; id: number; arguments?: unknown };

/** A QEMU's monitor by script, on a real socket. */
export class ScriptedMonitor {
  readonly commands: Command[] = [];
  answer: (command: Command, socket: Socket) => void = ({ id }, socket) =>
    void socket.write(`{"return":{},"id":${id}}\n`);
  onConnect: (socket: Socket) => void = (socket) => void socket.write(greeting);
  socket: Socket | null = null;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((socket) => {
      this.socket = socket;
      socket.on('error', () => undefined);
      socket.on('data', (chunk) => {
        for (const line of chunk.toString().trim().split('\n')) {
          const command = JSON.parse(line) as Command;
          this.commands.push(command);
          this.answer(command, socket);
        }
      });
      this.onConnect(socket);
    });
  }

  listen(path: string): Promise<void> {
    return new Promise((resolve) => {
      this.#server.listen(path, resolve);
    });
  }

  send(data: string | Buffer): void {
    this.socket?.write(data);
  }

  close(): void {
    this.socket?.destroy();
    this.#server.close();
  }
}
