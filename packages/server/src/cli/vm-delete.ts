/** `vmpulse vm delete` */
import type { Command } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { findMachine } from './machine-name.ts';
import type { Terminal } from './terminal.ts';
import { clean, toJson } from './text.ts';

/** Adds the command. */
export function registerVmDelete(vm: Command, terminal: Terminal): void {
  const command = vm.command('delete <name>').description('forget a machine; its disk images stay');
  addConnectionFlags(command, 'vmpulse vm delete web-1');
  command.action(async (name: string, flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const machine = await findMachine(server, name);
      await machine.delete();
      if (flags.json === true)
        await terminal.out(toJson({ id: machine.id, name: machine.name, deleted: true }, 2));
      else await terminal.out(clean(`deleted '${machine.name}'; its disk images are where they were`));
    });
  });
}
