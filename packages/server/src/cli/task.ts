/** `vmpulse task list|show|cancel` */
import type { TaskInfo } from '@vmpulse/client';
import type { Command } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { type Column, renderTable } from './table.ts';
import type { Terminal } from './terminal.ts';
import { clean, toJson } from './text.ts';

function outcome(task: TaskInfo): string {
  if (!task.isComplete) return `${Math.round(task.percent)} %`;
  return task.result ?? 'ended';
}

const columns: Column<TaskInfo>[] = [
  { head: 'ID', cell: (task) => task.id },
  { head: 'MACHINE', cell: (task) => task.vm.name },
  { head: 'DESCRIPTION', cell: (task) => task.description, maxWidth: 60 },
  {
    head: 'RESULT',
    cell: outcome,
    color: (task) => (task.result === 'success' ? 'green' : task.isComplete ? 'red' : 'yellow'),
  },
  { head: 'BEGAN', cell: (task) => task.startedAt },
  { head: 'ERROR', cell: (task) => task.error?.code ?? '-' },
];

/** Adds the group. */
export function registerTask(program: Command, terminal: Terminal): void {
  const group = program.command('task').description('operations under way and ended lately');

  const list = group.command('list').description('all tasks');
  addConnectionFlags(list, 'vmpulse task list').action(async (flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const tasks = (await server.tasks()).map((task) => task.info);
      if (flags.json === true) await terminal.out(toJson(tasks, 2));
      else await terminal.out(tasks.length === 0 ? 'No tasks.' : renderTable(columns, tasks, terminal.color));
    });
  });

  const show = group.command('show <id>').description('one task');
  addConnectionFlags(show, 'vmpulse task show 3').action(async (id: string, flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const { info } = await server.task(id);
      await terminal.out(flags.json === true ? toJson(info, 2) : describeTask(info));
    });
  });

  const cancel = group.command('cancel <id>').description('ask for the end of a task');
  addConnectionFlags(cancel, 'vmpulse task cancel 3').action(async (id: string, flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const task = await server.task(id);
      await task.cancel();
      await terminal.out(flags.json === true ? toJson(task.info, 2) : describeTask(task.info));
    });
  });
}

function describeTask(task: TaskInfo): string {
  const error = task.error === null ? '' : `: ${task.error.detail} (${task.error.code})`;
  return clean(`${task.id}  ${task.description}  ${outcome(task)}${error}`);
}
