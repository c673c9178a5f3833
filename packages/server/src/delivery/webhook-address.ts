/**
 * Which addresses a webhook may reach. Where private targets are forbidden, the address that is connected to is
 * judged, after the name was resolved: a name that means one address now and another one later deceives nobody.
 */
import { type LookupAddress, lookup as systemLookup } from 'node:dns';
import { BlockList, type LookupFunction, isIP } from 'node:net';
import { maxWebhookLookups, maxWebhooks } from '../limits.ts';

/** Not for the public, by the IANA's special-purpose registries: address and prefix length. */
const blocked: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
];
const blocked6: readonly (readonly [string, number])[] = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
];
const list4 = new BlockList();
const list6 = new BlockList();
const unicast6 = new BlockList();
for (const [address, prefix] of blocked) list4.addSubnet(address, prefix, 'ipv4');
for (const [address, prefix] of blocked6) list6.addSubnet(address, prefix, 'ipv6');
// Everything else (loopback, mapped and translated IPv4, ULA, link-local, multicast) lies outside of it.
unicast6.addSubnet('2000::', 3, 'ipv6');

/** Can `address` (IPv4 or IPv6, no name) be anybody's on the internet? */
export function isPublicAddress(address: string): boolean {
  const bare = address.replace(/^\[|\]$/gu, '').split('%', 1)[0] ?? '';
  const family = isIP(bare);
  if (family === 4) return !list4.check(bare, 'ipv4');
  if (family === 6) return unicast6.check(bare, 'ipv6') && !list6.check(bare, 'ipv6');
  return false;
}

/** A target that may not be reached. Its message names the address. */
export class PrivateTargetError extends Error {
  constructor(address: string) {
    super(`${address} is a private address, and this server tells public ones only`);
    this.name = 'PrivateTargetError';
  }
}

type ResolveDone = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void;

/** Resolves all addresses of a name. */
export type ResolveAll = (host: string, family: number, done: ResolveDone) => void;

const resolveBySystem: ResolveAll = (host, family, done) =>
  systemLookup(host, { all: true, family: family === 4 || family === 6 ? family : 0 }, done);

/**
 * Makes lookups for sockets: few at once, as each takes a thread that files are read with too, and each name once at a
 * time, so that attempts at a name that cannot be resolved do not pile up before the others. Names that were not
 * resolved last time come last, and not all at once: a zone whose servers do not answer takes long each time.
 */
export class Lookups {
  readonly #publicOnly: boolean;
  readonly #resolve: ResolveAll;
  #running = 0;
  /** Of them, those of names in `#failed`. */
  #doubtful = 0;
  #waiting: { readonly host: string; readonly start: () => void }[] = [];
  /** Names that were not resolved last time. */
  readonly #failed = new Set<string>();
  /** Who waits for a name that is being looked up. */
  readonly #asking = new Map<string, ResolveDone[]>();

  constructor(publicOnly: boolean, resolve: ResolveAll = resolveBySystem) {
    this.#publicOnly = publicOnly;
    this.#resolve = resolve;
  }

  /** Errors: PrivateTargetError. A literal address is never looked up, and so is judged here. */
  checkLiteral(host: string): void {
    const bare = host.replace(/^\[|\]$/gu, '');
    if (this.#publicOnly && isIP(bare) !== 0 && !isPublicAddress(bare)) throw new PrivateTargetError(bare);
  }

  /** For `net.connect` and `tls.connect`. */
  readonly lookup: LookupFunction = (host, options, done) => {
    const family = Number(String(options.family ?? 0).replace('IPv', ''));
    const key = `${family} ${host}`;
    const answered: ResolveDone = (error, found) => {
      if (error !== null) done(error, []);
      else this.#answer(found, options.all === true, done);
    };
    const asking = this.#asking.get(key);
    if (asking !== undefined) {
      asking.push(answered);
      return;
    }
    const all = [answered];
    this.#asking.set(key, all);
    const start = (): void => {
      const isDoubtful = this.#failed.has(host);
      this.#running += 1;
      if (isDoubtful) this.#doubtful += 1;
      this.#resolve(host, family, (error, found) => {
        this.#running -= 1;
        if (isDoubtful) this.#doubtful -= 1;
        this.#remember(host, error !== null);
        this.#asking.delete(key);
        this.#startNext();
        for (const one of all) one(error, found);
      });
    };
    this.#waiting.push({ host, start });
    this.#startNext();
  };

  /** Starts what may be started. */
  #startNext(): void {
    while (this.#running < maxWebhookLookups) {
      const sound = this.#waiting.find(({ host }) => !this.#failed.has(host));
      const next = sound ?? (this.#doubtful < maxWebhookLookups - 1 ? this.#waiting[0] : undefined);
      if (next === undefined) return;
      this.#waiting = this.#waiting.filter((one) => one !== next);
      next.start();
    }
  }

  #remember(host: string, hasFailed: boolean): void {
    this.#failed.delete(host);
    if (hasFailed) this.#failed.add(host);
    const [oldest] = this.#failed;
    if (this.#failed.size > maxWebhooks && oldest !== undefined) this.#failed.delete(oldest);
  }

  #answer(found: LookupAddress[], all: boolean, done: Parameters<LookupFunction>[2]): void {
    const allowed = this.#publicOnly ? found.filter(({ address }) => isPublicAddress(address)) : found;
    const [first] = allowed;
    if (first === undefined) done(new PrivateTargetError(found[0]?.address ?? 'nothing'), []);
    else if (all) done(null, allowed);
    else done(null, first.address, first.family);
  }
}
