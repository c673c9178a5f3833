/**
 * A machine's configuration: what is asked for, checked strictly and completed with every default. Each violation is
 * a VmError with the JSON pointer of the field and a sentence that says what to write there.
 */
import { createHash } from 'node:crypto';
import {
  checkName,
  type CompleteVmConfiguration,
  type DiskConfiguration,
  type NetworkConfiguration,
  type VmChange,
} from '@vmpulse/wire';
import { z } from 'zod';
import { flag, illegal, oneOf, strict, violation, whole } from './configuration-shape.ts';
import { recoverySchema } from './recovery-policy.ts';
import { checkValues } from './value-keys.ts';

/** IDE has two channels of two. */
const maxIdeDisks = 4;

const text = (most: number): z.ZodString => {
  const error = `must be a text of at most ${most} characters without NUL.`;
  return z
    .string({ error })
    .max(most, { error })
    .regex(/^[^\0]*$/, { error });
};

const list = <T extends z.ZodType>(item: T, most: number): z.ZodArray<T> => {
  const error = `must be a list of at most ${most}.`;
  return z.array(item, { error }).max(most, { error });
};

const pathError = 'must be an absolute path without control characters, such as /var/lib/images/web.qcow2.';
const absolutePath = z
  .string({ error: pathError })
  .max(4_095, { error: pathError })
  .regex(/^\/\P{Cc}*$/u, { error: pathError });

const deviceError = "must be the name of the host's device, 1 to 15 letters, digits or any of . _ : -";
const macError = 'must be an address of one adapter, such as 52:54:00:12:34:56.';

/** The second digit is even: a group address is no adapter's. */
const macPattern = /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i;

const patience = whole(0, 3_600_000);

const schema = strict({
  name: z.string(),
  memoryMiB: whole(16, 16_777_216).default(512),
  cpus: whole(1, 255).default(1),
  boot: strict({
    kernel: absolutePath,
    initrd: absolutePath.exactOptional(),
    // What an x86 kernel takes.
    cmdline: text(2_047).exactOptional(),
  })
    .nullable()
    .default(null),
  disks: list(
    strict({
      file: absolutePath,
      format: oneOf('qcow2', 'raw', 'vpc').exactOptional(),
      bus: oneOf('virtio', 'ide').default('virtio'),
      readOnly: flag.default(false),
    }),
    24,
  ).default([]),
  networks: list(
    strict({
      type: oneOf('user', 'tap', 'bridge'),
      device: z
        .string({ error: deviceError })
        .regex(/^[A-Za-z0-9._:-]{1,15}$/, { error: deviceError })
        .exactOptional(),
      mac: z.string({ error: macError }).regex(macPattern, { error: macError }).exactOptional(),
    }),
    8,
  ).default([]),
  vnc: flag.default(false),
  watchdog: strict({ model: oneOf('i6300esb'), action: oneOf('reset', 'pause', 'none') })
    .nullable()
    .default(null),
  heartbeat: strict({
    intervalMs: whole(100, 60_000).default(1_000),
    patience: strict({
      spinningMs: patience.default(10_000),
      busyMs: patience.default(60_000),
      additionsStoppedMs: patience.default(10_000),
    }).prefault({}),
    bootWindowMaxMs: whole(10_000, 3_600_000).default(600_000),
    watch: flag.default(true),
  }).prefault({}),
  recovery: recoverySchema.default({ action: 'default' }),
  autostart: strict({
    action: oneOf('never', 'always', 'ifRunningAtQuit'),
    delaySeconds: whole(0, 86_400).default(0),
  }).default({ action: 'never', delaySeconds: 0 }),
  shutdownActionOnQuit: oneOf('leaveRunning', 'save', 'turnOff', 'shutdown').default('leaveRunning'),
  notes: text(16_384).default(''),
});

/**
 * The configuration with every default filled in; `id` is the machine's, from which adapters' addresses are derived.
 * Takes whatever a client sent. Errors: VM_E_CONFIG_NO_NAME, VM_E_CONFIG_NAME_TOO_LONG,
 * VM_E_CONFIG_NAME_INVALID_CHAR, VM_E_PREF_ILLEGAL_VALUE, each with `field`.
 */
export function completeConfiguration(configuration: unknown, id: string): CompleteVmConfiguration {
  if (typeof configuration !== 'object' || configuration === null || Array.isArray(configuration)) {
    throw illegal('', 'A machine is described by an object such as {"name": "web-1"}.');
  }
  const { values, ...rest } = configuration as Record<string, unknown>;
  const parsed = schema.safeParse(
    'name' in rest ? { ...rest, name: checkName(rest['name']) } : { ...rest, name: '' },
  );
  // Unknown properties first: a misspelt `nmae` says more than "the machine has no name".
  if (!parsed.success) throw violation(parsed.error.issues);
  const complete = {
    ...parsed.data,
    name: checkName(rest['name']),
    disks: parsed.data.disks.map(completeDisk),
    networks: parsed.data.networks.map((network, index) => completeNetwork(network, index, id)),
    values: checkValues(values),
  };
  checkDisks(complete.disks);
  return complete;
}

/** The configuration a change makes of `current`: what is named is replaced, null takes away. Errors as above. */
export function changedConfiguration(
  current: CompleteVmConfiguration,
  change: VmChange,
  id: string,
): CompleteVmConfiguration {
  if (typeof change !== 'object' || change === null || Array.isArray(change)) {
    throw illegal('', 'A change is an object of what is to be replaced, such as {"notes": "in use"}.');
  }
  return completeConfiguration(
    { ...current, ...change, values: changedValues(current.values, change.values) },
    id,
  );
}

function changedValues(current: CompleteVmConfiguration['values'], change: unknown): unknown {
  if (change === undefined) return current;
  if (typeof change !== 'object' || change === null || Array.isArray(change)) return change;
  const merged = new Map<string, unknown>(Object.entries(current));
  for (const [key, value] of Object.entries(change)) {
    if (value === null) merged.delete(key);
    else merged.set(key, value);
  }
  return Object.fromEntries(merged);
}

function completeDisk(disk: DiskConfiguration): DiskConfiguration {
  const ending = /\.[^./]*$/.exec(disk.file.toLowerCase())?.[0];
  const format = ending === '.qcow2' ? 'qcow2' : ending === '.vhd' ? 'vpc' : 'raw';
  return { ...disk, format: disk.format ?? format };
}

function checkDisks(disks: readonly DiskConfiguration[]): void {
  const seen = new Map<string, DiskConfiguration>();
  let ide = 0;
  for (const [index, disk] of disks.entries()) {
    const other = seen.get(disk.file);
    if (other !== undefined && (disk.readOnly !== true || other.readOnly !== true)) {
      throw illegal(
        `/disks/${index}/file`,
        `disks/${index}/file is attached twice; attach ${disk.file} once.`,
      );
    }
    seen.set(disk.file, disk);
    if (disk.bus !== 'ide') continue;
    ide += 1;
    if (ide > maxIdeDisks) {
      throw illegal(
        `/disks/${index}/bus`,
        `disks/${index}/bus: IDE takes 4 disks; use 'virtio' for the others.`,
      );
    }
    if (disk.readOnly === true) {
      throw illegal(
        `/disks/${index}/readOnly`,
        `disks/${index}: an IDE disk cannot be read-only; use bus 'virtio'.`,
      );
    }
  }
}

function completeNetwork(network: NetworkConfiguration, index: number, id: string): NetworkConfiguration {
  const field = `/networks/${index}/device`;
  if (network.type === 'user' && network.device !== undefined) {
    throw illegal(field, `networks/${index}/device belongs to tap and bridge; leave it out for 'user'.`);
  }
  if (network.type !== 'user' && network.device === undefined) {
    throw illegal(
      field,
      `networks/${index}/device is missing; name the host's ${network.type}, such as ${network.type}0.`,
    );
  }
  return { ...network, mac: (network.mac ?? derivedMac(id, index)).toLowerCase() };
}

/** `52:54:00:` and three bytes of SHA-256 of the machine's id and the adapter's index: the same for all time. */
function derivedMac(id: string, index: number): string {
  const digest = createHash('sha256').update(`${id.toLowerCase()}/${index}`).digest();
  return ['52', '54', '00', ...[0, 1, 2].map((at) => digest.subarray(at, at + 1).toString('hex'))].join(':');
}
