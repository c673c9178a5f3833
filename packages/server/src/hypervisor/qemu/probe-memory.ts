/**
 * What was found out about kvm, kept in the data directory for as long as it holds: until the host boots again or
 * another QEMU is installed. A service that is started again has its answer at once, and no test guest runs.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../clock.ts';
import { type KvmFinding, type Probe, probeVersion, tryKvm, whyNoDevice } from './probe.ts';
import { bootId } from './proc.ts';
import { asObject } from './qmp.ts';

/** Its name in the data directory. Removing it makes the next start of the service try again. */
const fileName = 'accelerator.json';

/** What a finding holds for. */
interface Circumstances {
  readonly bootId: string;
  readonly binary: string;
  readonly version: string | null;
}

/** Probes, as far as it is not known already. `kvmDevice` is /dev/kvm but for tests. Errors: none but of /proc. */
export async function rememberedProbe(
  directory: string,
  binary: string,
  clock: Clock,
  kvmDevice = '/dev/kvm',
): Promise<Probe> {
  const { version, failure } = await probeVersion(binary, clock);
  if (failure !== null) return { accelerator: null, acceleratorReason: failure, version, lasting: false };
  const deviceReason = await whyNoDevice(kvmDevice);
  if (deviceReason !== null) {
    return { accelerator: 'tcg', acceleratorReason: deviceReason, version, lasting: true };
  }
  const circumstances = { bootId: await bootId(), binary, version };
  const path = join(directory, fileName);
  const known = await recall(path, circumstances);
  const finding = known ?? (await tryKvm(binary, clock));
  if (known === null && finding.tried) await remember(path, circumstances, finding);
  const { reason, tried } = finding;
  return { accelerator: reason === null ? 'kvm' : 'tcg', acceleratorReason: reason, version, lasting: tried };
}

/** Null when nothing is known that holds now; a file that cannot be read tells nothing. */
async function recall(path: string, circumstances: Circumstances): Promise<KvmFinding | null> {
  try {
    const kept = asObject(JSON.parse(await readFile(path, 'utf8')));
    if (kept === null) return null;
    for (const [name, value] of Object.entries(circumstances)) if (kept[name] !== value) return null;
    const reason = kept['reason'];
    return reason === null || typeof reason === 'string' ? { reason, tried: true } : null;
  } catch {
    return null;
  }
}

/** Where it cannot be written, the next start tries again: that is all. */
async function remember(path: string, circumstances: Circumstances, { reason }: KvmFinding): Promise<void> {
  const text = `${JSON.stringify({ ...circumstances, reason }, null, 2)}\n`;
  const partial = `${path}.${process.pid}`;
  await writeFile(partial, text, { mode: 0o600 })
    .then(() => rename(partial, path))
    .catch(() => undefined);
}
