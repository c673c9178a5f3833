/** What differs between two configurations, as configurationChanged events tell it, and when it takes effect. */
import { isDeepStrictEqual } from 'node:util';
import type { CompleteVmConfiguration } from '@vmpulse/wire';

/** What a process is started with and cannot take while it runs. */
const hardware: readonly (keyof CompleteVmConfiguration)[] = [
  'memoryMiB',
  'cpus',
  'boot',
  'disks',
  'networks',
  'vnc',
  'watchdog',
];

/** Properties whose parts are told one by one (`heartbeat/intervalMs`); others are told whole. */
const trees: readonly string[] = ['heartbeat', 'autostart', 'recovery'];

/** One changed key: its slash path, its new value (null when taken away), whether a running machine waits for it. */
export interface ChangedKey {
  readonly key: string;
  readonly value: unknown;
  readonly hardware: boolean;
}

/** The keys that differ, in the order of the configuration; value keys as they are. */
export function changedKeys(from: CompleteVmConfiguration, to: CompleteVmConfiguration): ChangedKey[] {
  const before = leaves(from);
  const after = leaves(to);
  const keys = new Set([...before.keys(), ...after.keys()]);
  return [...keys]
    .filter((key) => !isDeepStrictEqual(before.get(key), after.get(key)))
    .map((key) => ({
      key,
      value: after.get(key) ?? null,
      hardware: (hardware as readonly string[]).includes(key),
    }));
}

/** True when a machine started with `active` would start differently with `current`. */
export function hardwareDiffers(active: CompleteVmConfiguration, current: CompleteVmConfiguration): boolean {
  return hardware.some((key) => !isDeepStrictEqual(active[key], current[key]));
}

function leaves(configuration: CompleteVmConfiguration): Map<string, unknown> {
  const { values, ...rest } = configuration;
  const found = new Map<string, unknown>();
  for (const [key, value] of Object.entries(rest)) {
    if (trees.includes(key)) collect(found, key, value);
    else found.set(key, value);
  }
  for (const [key, value] of Object.entries(values)) found.set(key, value);
  return found;
}

function collect(found: Map<string, unknown>, path: string, value: unknown): void {
  if (typeof value !== 'object' || value === null) {
    found.set(path, value);
    return;
  }
  for (const [key, part] of Object.entries(value)) collect(found, `${path}/${key}`, part);
}
