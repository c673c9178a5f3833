/**
 * Many stops at once, and a few among very many guests, with two peers in the same run:
 *
 *   node bench/mass-stop.ts [guests] [vmpulse|redis|etcd ...]
 *
 * vmpulse: real monitor, event log (fsync) and outbox; the machines are of the fake hypervisor. Of 10,000 guests (the
 * most one service takes) and of `guests`, 1,000 fall silent. Then all 10,000 do; and, in runs of their own, all 10,000
 * and all `guests` are killed. Redis: as many keys with a time to live, and keyspace events. etcd: 10,000 leases. The
 * deadlines of silence are spread over 6 s, as ticks are, and those of Redis as well; not those of etcd,
 * whose leases have whole seconds: over the time it takes to grant them. Peers that are not installed are left out,
 * with the names of the packages that are missing.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { say, sayWhere } from './figures.ts';
import { massStopOfEtcd } from './mass-stop-etcd.ts';
import { massStopOfRedis } from './mass-stop-redis.ts';

/** The most machines of one service. */
const serviceGuests = 10_000;
const dying = 1_000;
const watchMs = 10_000;
/** Heap for the objects of a million guests and their machines. */
const heapMiB = 14_000;

const [count, ...only] = process.argv.slice(2);
const guests = Number(count ?? 1_000_000);
const wanted = (part: string): boolean => only.length === 0 || only.includes(part);

function vmpulse(size: number, how: 'silent' | 'killed'): void {
  const script = fileURLToPath(new URL('mass-stop-vmpulse.ts', import.meta.url));
  const flags = [`--max-old-space-size=${heapMiB}`, '--max-semi-space-size=128'];
  const args = [...flags, script, ...[size, dying, watchMs].map(String), how];
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' });
  if (status !== 0) say(`vmpulse with ${size} guests`, 'failed');
}

sayWhere();
if (wanted('vmpulse')) {
  vmpulse(serviceGuests, 'silent');
  vmpulse(serviceGuests, 'killed');
  if (guests > serviceGuests) vmpulse(guests, 'killed');
}
if (wanted('redis')) await massStopOfRedis(guests, dying);
if (wanted('etcd')) await massStopOfEtcd(serviceGuests, dying);
sayWhere();
