/** `vmpulse demo`: the virtual server with small guests whose hearts beat, and what to type to break one. */
import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { VirtualMachine, VirtualServer, VmEvent } from '@vmpulse/client';
import { VmError } from '@vmpulse/client';
import { connectToDataDirectory } from '@vmpulse/client/node';
import { pino } from 'pino';
import { SystemClock } from '../clock.ts';
import { type Service, startService } from '../main.ts';
import { breakages, breakGuest, demoNames, makeDemoGuests } from './demo-guest.ts';
import { LiveScreen } from './demo-screen.ts';
import { Ending, parseListen } from './serve.ts';

/** Starting three guests under software emulation takes some seconds; on a loaded machine a minute. */
const startTimeoutMs = 120_000;
/** Data directory of the demo, in the folder it is started in. */
const defaultDirectory = '.demo';
/** The table is drawn anew this often. */
const redrawMs = 1_000;

interface DemoFlags {
  data: string;
  listen: string;
  image?: string;
}

/** Adds the verbs `demo` and `demo-break`. */
export function registerDemo(program: Command): void {
  const image = new Option('--image <dir>', 'guest image, as images/build.sh makes it').env(
    'VMPULSE_GUEST_IMAGE',
  );
  const data = new Option('--data <dir>', 'data directory of the demo').default(defaultDirectory);
  program
    .command('demo')
    .description('run a virtual server with three small guests, to see one stop')
    .addOption(data)
    .addOption(image)
    .option('--listen <host:port>', 'TCP address', '127.0.0.1:7410')
    .addHelpText('after', '\nExample:\n  npm start')
    .action(async (flags: DemoFlags) => {
      process.exitCode = await runDemo(flags);
    });
  const ways = Object.entries(breakages).map(([how, what]) => `  ${how.padEnd(10)}${what}`);
  program
    .command('demo-break <name> <how>')
    .description('break one of the demo’s guests')
    .addOption(data)
    .addHelpText(
      'after',
      `\nWays to break it:\n${ways.join('\n')}\n\nExample:\n  npx vmpulse demo-break demo-2 hang`,
    )
    .action(async (name: string, how: string, flags: { data: string }) => {
      if (breakages[how] === undefined) {
        throw new VmError(
          'E_INVALIDARG',
          `There is no way "${how}"; one of: ${Object.keys(breakages).join(', ')}.`,
        );
      }
      const server = await connectToDataDirectory(resolve(flags.data));
      try {
        await breakGuest(await server.findVirtualMachine(name), how);
        process.stdout.write(`${name}: ${breakages[how]}\n`);
      } finally {
        await server.close();
      }
    });
}

async function runDemo(flags: DemoFlags): Promise<number> {
  if (flags.image === undefined) {
    throw new VmError('E_INVALIDARG', 'The demo needs a guest image: run npm start, or give --image DIR.');
  }
  const directory = resolve(flags.data);
  const logger = pino({ level: 'error', base: null }, pino.destination(2));
  const ending = new Ending(logger);
  const service = await startService({ directory, listen: parseListen(flags.listen), logger });
  const ended = ending.of(service);
  const screen = new LiveScreen(process.stdout);
  try {
    const server = await connectToDataDirectory(directory);
    const abort = new AbortController();
    const shown = show(server, service, screen, flags, abort.signal);
    const code = await Promise.race([ended, shown.then(() => ended)]);
    abort.abort();
    await server.close();
    return code === 130 ? 0 : code;
  } catch (error) {
    await service.stop('the demo failed');
    throw error;
  } finally {
    screen.close();
  }
}

async function show(
  server: VirtualServer,
  service: Service,
  screen: LiveScreen,
  flags: DemoFlags,
  signal: AbortSignal,
): Promise<void> {
  const connection = server.advise({ onEvent: (event: VmEvent) => screen.event(event) });
  await connection.ready;
  const info = await server.info();
  screen.say(
    `vmpulse ${info.version} listens on ${service.address.url ?? ''} and ${join(flags.data, 'vmpulse.sock')}`,
  );
  const machines = await makeDemoGuests(server, resolve(flags.image ?? ''));
  screen.say('Starting the guests; their hearts beat in a few seconds.');
  await Promise.all(machines.map((machine) => startGuest(machine, screen)));
  const { accelerator, acceleratorReason } = (await server.info()).host;
  if (acceleratorReason !== null)
    screen.say(`Guests run under ${accelerator ?? 'nothing'}: ${acceleratorReason}`);
  screen.say(hints(flags.data));
  const clock = new SystemClock();
  while (!signal.aborted) {
    screen.table(await server.virtualMachines());
    await clock.sleep(redrawMs, signal);
  }
}

async function startGuest(machine: VirtualMachine, screen: LiveScreen): Promise<void> {
  try {
    const { operations } = await machine.refresh();
    if (!operations.includes('startup')) return;
    await (await machine.startup()).waitForCompletion(startTimeoutMs);
  } catch (error) {
    screen.say(`${machine.name} did not start: ${VmError.from(error).message}`);
  }
}

/** What to type in a second terminal. */
function hints(data: string): string {
  const [first, second, third] = demoNames;
  const option = data === defaultDirectory ? '' : ` --data ${data}`;
  const typed: readonly (readonly [string, string])[] = [
    [`npx vmpulse demo-break ${first} panic${option}`, 'its kernel panics'],
    [`npx vmpulse demo-break ${second} hang${option}`, 'all of its user space freezes'],
    [`kill -9 $(pgrep -f guest=${third})`, 'its QEMU is killed'],
    [`npx vmpulse vm startup ${third} --data ${data}`, 'and started again (the others: vm reset)'],
    [`npx vmpulse events --follow --data ${data}`, 'the events, as a program would follow them'],
  ];
  return [
    'In a second terminal, in this folder, break one and see it told here:',
    ...typed.map(([command, what]) => `  ${command.padEnd(46)} # ${what}`),
    'Ctrl-C ends the demo and turns its guests off.',
  ].join('\n');
}
