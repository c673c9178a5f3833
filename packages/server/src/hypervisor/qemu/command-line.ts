/**
 * QEMU's command line for a machine: a pure function. QEMU runs in the machine's directory, so that its own socket
 * names are short. It starts stopped (`-S`): vmpulse connects first, and no event of the boot is missed. It outlives
 * the guest's panic and shutdown (`-action`), so that there is evidence to look at.
 */
import { createHash } from 'node:crypto';
import { extname } from 'node:path';
import type { CompleteVmConfiguration, DiskConfiguration, NetworkConfiguration } from '@vmpulse/wire';

/** Names of a machine's files in its directory. */
export const machineFiles = {
  qmp: 'qmp.sock',
  heartbeat: 'heartbeat.sock',
  agent: 'agent.sock',
  serial: 'serial.sock',
  vnc: 'vnc.sock',
  serialLog: 'serial.log',
  resetLog: 'cpu-reset.log',
  operator: 'operator.sock',
  stderr: 'qemu.stderr',
  pid: 'qemu.pid',
  savedState: 'saved-state',
} as const;

/** What a command line is made of. */
export interface CommandLineRequest {
  /** UUID. */
  readonly vmId: string;
  readonly configuration: CompleteVmConfiguration;
  readonly accelerator: 'kvm' | 'tcg';
  /** QEMU waits for the saved state, which QMP then tells it to read. */
  readonly restore: boolean;
}

/** An option and its value. */
type Option = readonly string[];

/** Arguments of QEMU, without the program's name. */
export function qemuArguments(request: CommandLineRequest): string[] {
  const { vmId, configuration } = request;
  const options: Option[] = [
    ...machine(request),
    ...resetLog(request),
    ...monitors(),
    ...consoles(configuration),
    ...ports(),
    ...witnesses(configuration),
    ...boot(configuration),
    ...disks(configuration.disks),
    ...networks(vmId, configuration.networks),
    ...(request.restore ? [['-incoming', 'defer']] : []),
  ];
  return options.flat();
}

function machine({ vmId, configuration, accelerator }: CommandLineRequest): Option[] {
  return [
    ['-nodefaults', '-no-user-config', '-S'],
    ['-name', `guest=${escapeCommas(configuration.name)},debug-threads=on`],
    ['-uuid', vmId],
    ['-machine', `q35,accel=${accelerator}`],
    ['-cpu', accelerator === 'kvm' ? 'host' : 'max'],
    ['-m', `size=${configuration.memoryMiB}M`],
    ['-smp', `cpus=${configuration.cpus}`],
    ['-rtc', 'base=utc'],
    ['-pidfile', machineFiles.pid],
    ['-msg', 'timestamp=on'],
    [
      '-action',
      `panic=pause,reboot=reset,shutdown=pause,watchdog=${configuration.watchdog?.action ?? 'none'}`,
    ],
  ];
}

/** Triple faults are told there under tcg, and under kvm nowhere; see docs/adr/0011-triple-faults.md. */
function resetLog({ accelerator }: CommandLineRequest): Option[] {
  return accelerator === 'tcg' ? [['-d', 'cpu_reset', '-D', machineFiles.resetLog]] : [];
}

/** A monitor serves one connection at a time: the second one is for whoever operates the host (to migrate a guest). */
function monitors(): Option[] {
  return [
    serverSocket('qmp', machineFiles.qmp),
    ['-mon', 'chardev=qmp,mode=control'],
    serverSocket('operator', machineFiles.operator),
    ['-mon', 'chardev=operator,mode=control'],
  ];
}

function serverSocket(id: string, path: string, more = ''): Option {
  return ['-chardev', `socket,id=${id},path=${path},server=on,wait=off${more}`];
}

/** A direct kernel boot talks on the serial line; only what may need a screen gets one. */
function consoles({ vnc, boot: kernelBoot }: CompleteVmConfiguration): Option[] {
  const display = vnc ? ['-vnc', `unix:${machineFiles.vnc}`] : ['-display', 'none'];
  const screen = vnc || kernelBoot === null ? [['-device', 'VGA,id=video0,addr=0x2']] : [];
  const pointer = vnc
    ? [
        ['-device', 'qemu-xhci,id=usb0,addr=0x3'],
        ['-device', 'usb-tablet,bus=usb0.0'],
      ]
    : [];
  return [
    display,
    ...screen,
    ...pointer,
    serverSocket('serial0', machineFiles.serial, `,logfile=${machineFiles.serialLog},logappend=on`),
    ['-device', 'isa-serial,chardev=serial0'],
  ];
}

/** The ids are those that VSERPORT_CHANGE names. */
function ports(): Option[] {
  const port = 'virtserialport,bus=vserial0.0';
  return [
    ['-device', 'virtio-serial-pci,id=vserial0,addr=0x4'],
    serverSocket('heartbeat', machineFiles.heartbeat),
    ['-device', `${port},nr=1,id=heartbeat,chardev=heartbeat,name=org.vmpulse.heartbeat.0`],
    serverSocket('agent', machineFiles.agent),
    ['-device', `${port},nr=2,id=agent,chardev=agent,name=org.qemu.guest_agent.0`],
  ];
}

function witnesses({ watchdog }: CompleteVmConfiguration): Option[] {
  return [
    ['-device', 'pvpanic-pci,addr=0x5'],
    ...(watchdog === null ? [] : [['-device', `${watchdog.model},id=watchdog0,addr=0x6`]]),
  ];
}

function boot({ boot: kernelBoot }: CompleteVmConfiguration): Option[] {
  if (kernelBoot === null) return [];
  return [
    ['-kernel', kernelBoot.kernel],
    ...(kernelBoot.initrd === undefined ? [] : [['-initrd', kernelBoot.initrd]]),
    ...(kernelBoot.cmdline === undefined ? [] : [['-append', kernelBoot.cmdline]]),
  ];
}

/** Ports of one AHCI controller. */
const ahciPorts = 6;
/** Functions of one PCI slot; devices share slots because q35 has only 31 and a machine may have more devices. */
const slotFunctions = 8;
const firstAhciSlot = 0x8;
const firstDiskSlot = 0x10;
const networkSlot = 0x18;

function disks(list: readonly DiskConfiguration[]): Option[] {
  let ide = 0;
  let virtio = 0;
  return list.flatMap((disk, index) => {
    const name = `disk${index}`;
    const tail = `drive=${name},id=${name}-device,bootindex=${index + 1}`;
    const node = ['-blockdev', blockNode(name, disk)];
    if (disk.bus === 'ide') return [node, ...ideDevice(ide++, tail)];
    return [node, ['-device', `virtio-blk-pci,${slot(firstDiskSlot, virtio++)},${tail}`]];
  });
}

/** As JSON, which QEMU takes literally: no character of a file name needs escaping. */
function blockNode(name: string, disk: DiskConfiguration): string {
  return JSON.stringify({
    driver: diskFormat(disk),
    'node-name': name,
    'read-only': disk.readOnly ?? false,
    file: { driver: disk.file.startsWith('/dev/') ? 'host_device' : 'file', filename: disk.file },
  });
}

/** The first six are on the chipset's own controller. */
function ideDevice(index: number, tail: string): Option[] {
  const controller = Math.floor(index / ahciPorts);
  const port = index % ahciPorts;
  const device = ['-device', `ide-hd,bus=${controller === 0 ? 'ide' : `ahci${controller}`}.${port},${tail}`];
  if (controller === 0 || port > 0) return [device];
  const address = (firstAhciSlot + controller).toString(16);
  return [['-device', `ich9-ahci,id=ahci${controller},addr=0x${address}`], device];
}

/** Format of a disk image: as configured, else by the file's ending. */
export function diskFormat(disk: DiskConfiguration): 'qcow2' | 'raw' | 'vpc' {
  if (disk.format !== undefined) return disk.format;
  const ending = extname(disk.file).toLowerCase();
  if (ending === '.qcow2') return 'qcow2';
  return ending === '.vhd' ? 'vpc' : 'raw';
}

function networks(vmId: string, list: readonly NetworkConfiguration[]): Option[] {
  return list.flatMap((network, index) => [
    ['-netdev', netdev(`net${index}`, network)],
    // No boot ROM: it is in a package of its own, and nobody boots from the network here.
    [
      '-device',
      `virtio-net-pci,${slot(networkSlot, index)},netdev=net${index},mac=${macAddress(vmId, index, network)},romfile=`,
    ],
  ]);
}

function netdev(id: string, network: NetworkConfiguration): string {
  const device = escapeCommas(network.device ?? '');
  switch (network.type) {
    case 'user':
      return `user,id=${id}`;
    case 'tap':
      return `tap,id=${id},ifname=${device},script=no,downscript=no`;
    case 'bridge':
      return `bridge,id=${id},br=${device}`;
    default:
      return network.type satisfies never;
  }
}

/** As configured, else QEMU's prefix 52:54:00 and three bytes of the SHA-256 of the machine's id and the index. */
export function macAddress(vmId: string, index: number, network: NetworkConfiguration): string {
  if (network.mac !== undefined) return network.mac;
  const hash = createHash('sha256').update(`${vmId}/${index}`).digest();
  const bytes = [...hash.subarray(0, 3)].map((byte) => byte.toString(16).padStart(2, '0'));
  return `52:54:00:${bytes.join(':')}`;
}

function slot(first: number, index: number): string {
  const number = first + Math.floor(index / slotFunctions);
  const multifunction = index % slotFunctions === 0 ? ',multifunction=on' : '';
  return `addr=0x${number.toString(16)}.${index % slotFunctions}${multifunction}`;
}

/** QEMU's option syntax ends a value at a comma; a doubled one is a comma. */
function escapeCommas(text: string): string {
  return text.replaceAll(',', ',,');
}
