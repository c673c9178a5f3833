/** File systems whose space, and whose silence, are a test's. */
import type { DiskSystem } from '../../packages/server/src/hypervisor/disk-looks.ts';

interface Volume {
  readonly device: string;
  readonly kind: string;
  freeBytes: number;
  hangs: boolean;
  /** What asking fails with: an errno. */
  fails: string | null;
}

/** A host's mounts by path; everything lies on the one whose path is longest. */
export class ScriptedDisks implements DiskSystem {
  readonly #volumes = new Map<string, Volume>();
  readonly absent: Set<string> = new Set();
  readonly blockDevices: Set<string> = new Set();
  /** A link to a folder elsewhere. */
  readonly links: Map<string, string> = new Map();
  /** What was asked, in order. */
  asked: string[] = [];
  /** Questions that hang now. */
  waiting: (() => void)[] = [];

  mount(path: string, freeBytes: number, kind = 'ext4'): void {
    const device = `8:${this.#volumes.size}`;
    this.#volumes.set(path, { device, kind, freeBytes, hangs: false, fails: null });
  }

  /** Another device number, as after a boot of the host. */
  renumber(path: string, device: string): void {
    this.#volumes.set(path, { ...this.volume(path), device });
  }

  volume(path: string): Volume {
    const volume = this.#volumes.get(path);
    if (volume === undefined) throw new Error(`nothing is mounted at ${path}`);
    return volume;
  }

  free(path: string, freeBytes: number): void {
    this.volume(path).freeBytes = freeBytes;
  }

  /** What hung comes back. */
  answer(path: string): void {
    this.volume(path).hangs = false;
    for (const go of this.waiting.splice(0)) go();
  }

  async place(path: string): Promise<{ device: string; holdsData: boolean }> {
    const { device } = await this.#ask('place', path);
    this.#requirePresent(path);
    return { device, holdsData: !this.blockDevices.has(path) };
  }

  async space(path: string): Promise<{ freeBytes: number; totalBytes: number }> {
    const { freeBytes } = await this.#ask('space', path);
    this.#requirePresent(path);
    return { freeBytes, totalBytes: 10 ** 12 };
  }

  mounts(): string {
    return [...this.#volumes]
      .map(([path, { device, kind }], n) => `${n} 1 ${device} / ${path} rw shared:1 - ${kind} /dev/x rw`)
      .join('\n');
  }

  #untilAnswered(): Promise<void> {
    return new Promise((resolve) => {
      this.waiting.push(resolve);
    });
  }

  #requirePresent(path: string): void {
    if (this.absent.has(path)) throw Object.assign(new Error('gone'), { code: 'ENOENT' });
  }

  async #ask(what: string, path: string): Promise<Volume> {
    this.asked.push(`${what} ${path}`);
    const volume = this.#at(path);
    while (volume.hangs) await this.#untilAnswered();
    if (volume.fails !== null) throw Object.assign(new Error(volume.fails), { code: volume.fails });
    return volume;
  }

  #at(path: string): Volume {
    const [from, to] = [...this.links].find(([link]) => path.startsWith(link)) ?? ['', ''];
    const real = `${to}${path.slice(from.length)}`;
    const [found] = [...this.#volumes]
      .filter(([mount]) => mount === '/' || real === mount || real.startsWith(`${mount}/`))
      .toSorted(([a], [b]) => b.length - a.length);
    if (found === undefined) throw new Error(`${path} lies nowhere`);
    return found[1];
  }
}
