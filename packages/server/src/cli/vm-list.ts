/** `vmpulse vm list` */
import type { VmInfo } from '@vmpulse/client';
import type { Command } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { type Column, renderTable } from './table.ts';
import type { Terminal } from './terminal.ts';
import { toJson } from './text.ts';

const columns: Column<VmInfo>[] = [
  { head: 'NAME', cell: (vm) => vm.name },
  { head: 'STATE', cell: (vm) => vm.state },
  { head: 'CPUS', align: 'right', cell: (vm) => String(vm.cpus) },
  { head: 'MEMORY', align: 'right', cell: (vm) => `${vm.memoryMiB} MiB` },
  { head: 'AUTOSTART', cell: (vm) => vm.autostart.action },
  { head: 'HYPERVISOR', cell: (vm) => vm.hypervisor },
  { head: 'ID', cell: (vm) => vm.id },
];

/** Adds the command. */
export function registerVmList(vm: Command, terminal: Terminal): void {
  const command = vm.command('list').description('all machines and their configuration in short');
  addConnectionFlags(command, 'vmpulse vm list --json | jq -r ".[].name"');
  command.action(async (flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const vms = (await server.virtualMachines()).map((machine) => machine.info);
      if (flags.json === true) await terminal.out(toJson(vms, 2));
      else if (vms.length === 0)
        await terminal.out('No machines. Create one: vmpulse vm create NAME --disk FILE');
      else await terminal.out(renderTable(columns, vms, terminal.color));
    });
  });
}
