/**
 * Migrations of a machine that are not vmpulse's own saves: an operator began them by QMP of his own, to another QEMU
 * or to a file. While one runs the guest goes on. Where it completes, QEMU stops the guest here for good, in
 * `postmigrate`: what is left of it is shown as paused, and its end is not the end of the guest. One that fails or is
 * cancelled leaves the guest running, as QEMU itself sees to.
 */
import type { Clock } from '../../clock.ts';
import { saveProgressMs } from '../../limits.ts';
import type { RunState } from '../hypervisor.ts';
import { isOngoing, isTransferring, migrationStatus } from './migration.ts';
import { QmpRefusal } from './qmp.ts';
import type { QmpLink } from './qmp-link.ts';

/** Is the migration that QEMU tells of a save of vmpulse's, of this service or the one before? */
export type IsOwnSave = () => boolean;

/** Watches one machine's. */
export class ForeignMigration {
  readonly #link: QmpLink;
  readonly #clock: Clock;
  readonly #isOwnSave: IsOwnSave;
  #completed = false;
  #following = false;

  constructor(link: QmpLink, clock: Clock, isOwnSave: IsOwnSave) {
    this.#link = link;
    this.#clock = clock;
    this.#isOwnSave = isOwnSave;
  }

  /** The guest has gone on elsewhere since, and was not let run here again. */
  get completed(): boolean {
    return this.#completed;
  }

  /**
   * Lets QEMU tell of migrations from now on. Not while it reads a saved state: that is told by the same event. Never
   * rejects: QEMU refuses while a migration is under way, and that one is followed by asking.
   */
  async watch(): Promise<void> {
    const capabilities = [{ capability: 'events', state: true }];
    try {
      await this.#link.execute('migrate-set-capabilities', { capabilities });
    } catch (error) {
      if (error instanceof QmpRefusal) void this.#follow();
    }
  }

  /** Every event of QEMU's. */
  take(name: string, data: Record<string, unknown>): void {
    if (name === 'RESUME') this.#completed = false;
    if (name === 'MIGRATION' && data['status'] === 'completed' && !this.#isOwnSave()) this.#completed = true;
  }

  /** What QEMU's run state means here. Errors: those of the link. */
  async refine(state: RunState): Promise<RunState> {
    // QEMU calls it paused until the state is out, also where the service that began the save is gone.
    if (state === 'paused') return this.#isOwnSave() && (await isTransferring(this.#link)) ? 'saving' : state;
    if (state !== 'saving' || this.#isOwnSave()) return state;
    if ((await migrationStatus(this.#link)) === 'completed') this.#completed = true;
    return 'paused';
  }

  async #follow(): Promise<void> {
    if (this.#following) return;
    this.#following = true;
    while (!this.#link.closed) {
      const status = await migrationStatus(this.#link).catch(() => null);
      if (status === 'completed' && !this.#isOwnSave()) this.#completed = true;
      if (status !== null && !isOngoing(status)) break;
      await this.#clock.sleep(saveProgressMs);
    }
    this.#following = false;
    if (!this.#link.closed) await this.watch();
  }
}
