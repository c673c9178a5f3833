/** `vmpulse vm`: the commands about machines. */
import type { Command } from 'commander';
import type { Terminal } from './terminal.ts';
import { registerVmChange } from './vm-change.ts';
import { registerVmCreate } from './vm-create.ts';
import { registerVmDelete } from './vm-delete.ts';
import { registerVmList } from './vm-list.ts';
import { registerVmOperations } from './vm-operate.ts';
import { registerVmShow } from './vm-show.ts';

/** Adds the group. */
export function registerVm(program: Command, terminal: Terminal): void {
  const vm = program.command('vm').description('virtual machines');
  registerVmCreate(vm, terminal);
  registerVmList(vm, terminal);
  registerVmShow(vm, terminal);
  registerVmChange(vm, terminal);
  registerVmOperations(vm, terminal);
  registerVmDelete(vm, terminal);
}
