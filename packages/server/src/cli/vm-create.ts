/** `vmpulse vm create` */
import type { VmConfiguration } from '@vmpulse/client';
import type { Command } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { type MachineFlags, addMachineFlags, describeMachine } from './machine-flags.ts';
import type { Terminal } from './terminal.ts';
import { clean, toJson } from './text.ts';

/** Adds the command. */
export function registerVmCreate(vm: Command, terminal: Terminal): void {
  const command = addMachineFlags(
    vm.command('create <name>').description('make a machine known to the server'),
  );
  addConnectionFlags(
    command,
    'vmpulse vm create web-1 --memory 1024 --cpus 2 --disk web-1.qcow2 --autostart\n' +
      'vmpulse vm create tiny --kernel vmlinuz --initrd initrd.img --cmdline console=ttyS0 --interval 100',
  );
  command.action(async (name: string, flags: MachineFlags & ConnectionFlags) => {
    const description = await describeMachine(flags, terminal.workingDirectory);
    await withServer(flags, terminal, async (server) => {
      const created = await server.createVirtualMachine({ ...description, name } as VmConfiguration);
      if (flags.json === true) await terminal.out(toJson(created.info, 2));
      else
        await terminal.out(
          clean(`created '${created.name}' (${created.id}); start it: vmpulse vm startup ${created.name}`),
        );
    });
  });
}
