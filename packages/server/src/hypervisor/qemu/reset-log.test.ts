import { appendFile, mkdtemp, open, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { maxResetLogBytes } from '../../limits.ts';
import { ResetLog, resetsIn } from './reset-log.ts';

const fault = 'Triple fault\n';

/** As QEMU 7.2 prints a vCPU's registers, less those not looked at. */
const registers = (cpu: number, { ip, cs = '0000000000000000', idt, cr0 }: Record<string, string>): string =>
  `CPU Reset (CPU ${cpu})\n` +
  'RAX=0000000000000000 RBX=0000000000000062 RCX=00000000c0000080 RDX=0000000000000cf9\n' +
  `RIP=${ip} RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0\n` +
  `CS =0010 ${cs} ffffffff 00a09b00 DPL=0 CS64 [-RA]\n` +
  `IDT=     fffffe0000000000 ${idt}\n` +
  `CR0=${cr0} CR2=000000000dcbae80 CR3=0000000003066000 CR4=00751eb0\n` +
  'XMM06=0000000000000000 0000000000000000 XMM07=0000000000000000 0000000000000000\n';
const kernel = { ip: 'ffffffffb8c3020f', idt: '00000fff', cr0: '80050033' };
/** Linux with reboot=t, or when nothing else resets the machine. */
const rebooting = { ip: 'ffffffff8ce606f9', idt: '00000000', cr0: '80050033' };
/** SeaBIOS on a warm boot, as recorded. */
const firmware = { ip: '000efaad', cs: '00000000', idt: '00000000', cr0: '00000011' };
/** A loader that has no interrupt table yet. */
const loader = { ip: '00007c33', cs: '00000000', idt: '00000000', cr0: '00000010' };
const waiting = { ip: '0000fff0', cs: 'ffff0000', idt: '0000ffff', cr0: '60000010' };

describe('The resets in QEMU’s log', () => {
  it.each([
    ['a kernel that faulted', fault + registers(0, kernel) + registers(1, waiting), [true]],
    ['a loader that faulted', fault + registers(0, loader), [true]],
    ['a reset by other means', registers(0, kernel) + registers(1, kernel), [false]],
    ['a kernel that faults on purpose', fault + registers(0, rebooting) + registers(1, kernel), [false]],
    ['one that does so on another vCPU', fault + registers(0, kernel) + registers(1, rebooting), [false]],
    [
      'the firmware’s own, and a vCPU that waits',
      fault + registers(0, firmware) + registers(1, waiting),
      [false],
    ],
    [
      'a fault beside a vCPU the firmware left',
      fault + registers(0, kernel) + registers(1, firmware),
      [true],
    ],
    ['a fault on the second vCPU', fault + registers(0, kernel) + registers(1, kernel), [true]],
    ['a vCPU started by another', registers(1, waiting), []],
    ['nothing', '', []],
    [
      'several resets',
      registers(0, kernel) +
        registers(1, kernel) +
        fault +
        registers(0, firmware) +
        fault +
        registers(0, kernel),
      [false, false, true],
    ],
    [
      'lines with a time',
      `2026-01-01T00:00:00Z ${fault}2026-01-01T00:00:00Z ${registers(0, kernel)}`,
      [true],
    ],
    ['registers in no form known', `${fault}CPU Reset (CPU 0)\nCR0=80050033 \n`, [true]],
  ])('are told from each other: %s', (_title, text, faults) => {
    expect(resetsIn(text)).toEqual({ faults, rest: '' });
  });

  it('are told only once they are all there, however the text is cut', () => {
    const whole = registers(1, waiting) + fault + registers(0, kernel) + registers(1, waiting);
    const end = whole.indexOf('XMM06', whole.indexOf('CPU 0')) + 1;
    for (
      let at = whole.indexOf(fault) + fault.length;
      at < whole.indexOf('CR2', whole.indexOf('CPU 0'));
      at += 1
    ) {
      const { faults, rest } = resetsIn(whole.slice(0, at));
      expect(faults).toEqual([]);
      expect(resetsIn(rest + whole.slice(at)).faults).toEqual([true]);
    }
    expect(resetsIn(whole.slice(0, end)).faults).toEqual([true]);
  });
});

describe('A log of resets', () => {
  let folder: string;
  let path: string;
  let log: ResetLog;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'resets-'));
    path = join(folder, 'cpu-reset.log');
    log = new ResetLog(path);
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  it('knows of each reset in turn whether it was a triple fault, also when several were told together', async () => {
    await writeFile(
      path,
      fault + registers(0, kernel) + registers(0, kernel) + fault + registers(0, firmware),
    );
    expect([1, 1, 2, 2].map((atMs) => log.reset(atMs))).toEqual([true, false, false, false]);
  });

  it('is emptied each time and takes no room for what was read, as QEMU goes on writing where it was', async () => {
    // As QEMU opens it: not appending.
    const writer = await open(path, 'w');
    for (let round = 0; round < 300; round += 1) {
      await writer.write(fault + registers(0, kernel) + 'x'.repeat(4_096).concat('\n'));
      expect(log.reset(0)).toBe(true);
      expect((await stat(path)).size).toBe(0);
    }
    await writer.write('more\n');
    const { size, blocks } = await stat(path);
    expect(size).toBeGreaterThan(1_000_000);
    expect(blocks * 512).toBeLessThan(100_000);
    // Its apparent size is no reason to throw away what was not read yet.
    await log.trim(maxResetLogBytes);
    expect((await stat(path)).size).toBe(size);
    await writer.write('y'.repeat(2 * maxResetLogBytes));
    await log.trim(maxResetLogBytes);
    expect((await stat(path)).size).toBe(0);
    await writer.close();
  });

  it('reads no more than its bound of a guest that floods it', async () => {
    await writeFile(path, registers(1, waiting).repeat(3 * (maxResetLogBytes / 500)));
    await appendFile(path, fault + registers(0, kernel));
    expect(log.reset(0)).toBe(true);
  });

  it('does not take resets that were never told for those that are', async () => {
    await writeFile(path, registers(0, kernel) + fault + registers(0, kernel));
    expect(log.reset(0)).toBe(false);
    await appendFile(path, registers(0, kernel));
    expect(log.reset(60_000)).toBe(false);
    await appendFile(path, fault + registers(0, kernel));
    expect(log.reset(120_000)).toBe(true);
  });

  it('forgets what came before', async () => {
    await writeFile(path, fault + registers(0, kernel) + fault);
    log.clear();
    await appendFile(path, registers(0, kernel));
    expect(log.reset(0)).toBe(false);
  });

  it('knows nothing where there is none', () => {
    log.clear();
    expect(log.reset(0)).toBe(false);
  });
});
