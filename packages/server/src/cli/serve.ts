/** `vmpulse serve`: runs the virtual server in the foreground until it is told to end. */
import { spawn } from 'node:child_process';
import type { EventEmitter } from 'node:events';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { VmError } from '@vmpulse/wire';
import { type Logger, pino } from 'pino';
import { type Clock, SystemClock } from '../clock.ts';
import { diskSpaceErrorBytes, diskSpaceWarningBytes } from '../limits.ts';
import { type Service, startService, type ServiceOptions } from '../main.ts';
import { defaultDataDirectory } from './connection.ts';

/** Where the service listens unless told otherwise. */
const defaultListen = '127.0.0.1:7410';
/** Exit codes: SIGTERM is how systemd stops a service, and in order. */
const exitCodeOfSignal = { SIGINT: 130, SIGTERM: 0, SIGHUP: 0 } as const;

interface ServeFlags {
  data?: string;
  listen: string;
  tlsCert?: string;
  tlsKey?: string;
  hostName?: string[];
  webhooksPublicOnly?: boolean;
  logLevel: string;
  scriptUser?: string;
  diskSpaceWarningMb?: string;
  diskSpaceErrorMb?: string;
}

/** Adds the verb. */
export function registerServe(program: Command): void {
  program
    .command('serve')
    .description('run the virtual server')
    .option('--data <dir>', 'data directory (default: that of this user)')
    .option('--listen <host:port>', 'TCP address; anything but loopback needs a certificate', defaultListen)
    .option('--tls-cert <file>', 'certificate with its chain, PEM')
    .option('--tls-key <file>', 'key of the certificate, PEM')
    .option('--host-name <name...>', 'further names under which a proxy reaches this server')
    .option('--webhooks-public-only', 'webhooks reach public addresses only, whatever their names resolve to')
    .option('--script-user <name>', 'user that scripts on events run as, where root runs the service')
    .option(
      '--disk-space-warning-mb <mb>',
      'free space below which a file system is told as low (default: 100)',
    )
    .option(
      '--disk-space-error-mb <mb>',
      'free space below which its machines are paused; 0: never (default: 20)',
    )
    .option('--log-level <level>', 'trace, debug, info, warn, error or silent', 'info')
    .addHelpText('after', '\nExample:\n  vmpulse serve --data /var/lib/vmpulse --listen 127.0.0.1:7410')
    .action(async (flags: ServeFlags) => {
      process.umask(0o077);
      const logger = pino({ level: flags.logLevel, base: null });
      const ending = new Ending(logger);
      const service = await startService(serviceOptions(flags, logger));
      logger.info({ ...service.address, startedInMs: Math.round(service.startedInMs) }, 'ready');
      notifySystemd('--ready');
      process.exitCode = await ending.of(service);
    });
}

/** The options that the flags ask for. Errors: E_INVALIDARG. */
export function serviceOptions(flags: ServeFlags, logger: Logger): ServiceOptions {
  const { tlsCert, tlsKey, hostName, scriptUser } = flags;
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new VmError(
      'E_INVALIDARG',
      'A certificate and its key belong together: give --tls-cert and --tls-key.',
    );
  }
  return {
    directory: resolve(flags.data ?? defaultDataDirectory()),
    listen: parseListen(flags.listen),
    ...(tlsCert === undefined || tlsKey === undefined ? {} : { tls: { certFile: tlsCert, keyFile: tlsKey } }),
    ...(hostName === undefined ? {} : { hostNames: hostName }),
    ...(flags.webhooksPublicOnly === true ? { webhooksPublicOnly: true } : {}),
    ...(scriptUser === undefined ? {} : { scriptUser }),
    ...diskSpaceOptions(flags),
    logger,
  };
}

/** Megabytes are of 1,048,576 bytes, as the original's. Errors: E_INVALIDARG. */
function diskSpaceOptions(flags: ServeFlags): Pick<ServiceOptions, 'diskSpace'> {
  const { diskSpaceWarningMb, diskSpaceErrorMb } = flags;
  const warningBytes = parseMegabytes('--disk-space-warning-mb', diskSpaceWarningMb, diskSpaceWarningBytes);
  const errorBytes = parseMegabytes('--disk-space-error-mb', diskSpaceErrorMb, diskSpaceErrorBytes);
  if (errorBytes > warningBytes) {
    const detail = 'Machines are paused below a bound that is not above that of the warning';
    throw new VmError(
      'E_INVALIDARG',
      `${detail}: give --disk-space-warning-mb as much as --disk-space-error-mb.`,
    );
  }
  const isUsual = diskSpaceWarningMb === undefined && diskSpaceErrorMb === undefined;
  return isUsual ? {} : { diskSpace: { warningBytes, errorBytes } };
}

function parseMegabytes(flag: string, text: string | undefined, usual: number): number {
  if (text === undefined) return usual;
  if (/^\d{1,9}$/u.test(text)) return Number(text) * 1024 ** 2;
  throw new VmError('E_INVALIDARG', `${flag} '${text}' is no number of megabytes; write one such as 100.`);
}

/** `127.0.0.1:7410`, `[::1]:7410` or `localhost:0`. Errors: E_INVALIDARG. */
export function parseListen(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]\s]+)):(\d{1,5})$/u.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined || port > 65_535) {
    throw new VmError(
      'E_INVALIDARG',
      `"${text}" is no address to listen on; write HOST:PORT, such as ${defaultListen}.`,
    );
  }
  return { host, port };
}

/** How long a signal takes from one process to the next at most, ms; nobody loses patience as soon. */
const sameSignalMs = 1_000;

type EndSignal = keyof typeof exitCodeOfSignal;

/**
 * Waits for the signal that ends the service. Made before the service is started, so that a signal that comes while it
 * starts is not lost: it is stopped in order as soon as it has started. A later signal ends it at once. One that comes
 * to the whole process group comes again from each parent that hands it on: within a second it is the same.
 */
export class Ending {
  readonly #logger: Logger;
  readonly #asked: Promise<EndSignal>;

  constructor(
    logger: Logger,
    clock: Clock = new SystemClock(),
    source: Pick<EventEmitter, 'on'> = process,
    exit: (code: number) => void = process.exit.bind(process),
  ) {
    this.#logger = logger;
    let askedMs: number | null = null;
    this.#asked = new Promise((resolvePromise) => {
      const onSignal = (signal: EndSignal): void => {
        const nowMs = clock.monotonicMs();
        askedMs ??= nowMs;
        if (nowMs - askedMs >= sameSignalMs) {
          logger.warn(`${signal} again: ending at once`);
          exit(1);
        }
        resolvePromise(signal);
      };
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
        source.on(signal, () => onSignal(signal));
    });
  }

  /** Resolves with the exit code once a signal came and the service was stopped in order. */
  async of(service: Service): Promise<number> {
    const signal = await this.#asked;
    notifySystemd('--stopping');
    this.#logger.info(`${signal}: stopping in order; guests that are to run go on`);
    try {
      await service.stop(signal);
    } catch (error) {
      this.#logger.error({ err: error }, 'stopping failed');
    }
    return exitCodeOfSignal[signal];
  }
}

/** Tells systemd (Type=notify); Node has no datagram sockets for Unix addresses, so its own tool does it. */
function notifySystemd(state: '--ready' | '--stopping'): void {
  if (process.env['NOTIFY_SOCKET'] === undefined) return;
  const child = spawn('systemd-notify', [state, `--pid=${process.pid}`], { stdio: 'ignore' });
  child.on('error', () => undefined);
}
