/**
 * Guests that booted once: the saved state of each profile's guest after it had ticked for a moment. A round begins by
 * registering a machine with a link to that state and starting it, which restores the guest in half a second.
 */
import { randomUUID } from 'node:crypto';
import { copyFileSync, linkSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { VirtualMachine } from '@vmpulse/client';
import type { VmConfiguration } from '@vmpulse/wire';
import { eventually, type RealService } from '../../support/real-service.ts';
import { type Profile, type ProfileName, profiles } from './profile.ts';

const state = 'saved-state';
const description = 'saved-state.json';
const diskBytes = 16 * 1024 * 1024;
/** After its first tick a guest is still busy with its boot for a while. */
const settleMs = 2_000;
/** A host that stands still for long can have a guest's watchdog fire before its state is saved. */
const attempts = 3;

interface Golden {
  readonly folder: string;
  readonly configuration: Partial<VmConfiguration>;
}

function nameOf(profile: ProfileName): string {
  return `golden-${profile}`;
}

/** The saved states of one campaign, in a folder of its own. */
export class Goldens {
  readonly #folder: string;
  readonly #disk: string;
  readonly #done = new Set<ProfileName>();
  readonly #made = new Map<ProfileName, Promise<Golden>>();

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
    this.#disk = join(folder, 'disk.raw');
    writeFileSync(this.#disk, '');
    truncateSync(this.#disk, diskBytes);
  }

  /** A machine of the profile that was started; its guest goes on from the saved state, or boots. */
  async start(service: RealService, profile: ProfileName, name: string): Promise<VirtualMachine> {
    const { cold }: Profile = profiles[profile];
    const vm =
      cold === true
        ? await this.#create(service, profile, name)
        : await this.#register(service, profile, name);
    await (await vm.startup()).waitForCompletion(60_000);
    await vm.refresh();
    return vm;
  }

  async #register(service: RealService, profile: ProfileName, name: string): Promise<VirtualMachine> {
    const golden = await this.#golden(service, profile);
    const id = randomUUID();
    const directory = join(service.directory, 'vms', id);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    // QEMU only reads it, and the service only renames and removes it.
    linkSync(join(golden.folder, state), join(directory, state));
    copyFileSync(join(golden.folder, description), join(directory, description));
    const configuration: Partial<VmConfiguration> & { id: string } = {
      ...golden.configuration,
      id,
    };
    return service.create(name, configuration);
  }

  #create(service: RealService, name: ProfileName, vmName: string): Promise<VirtualMachine> {
    const { parameters }: Profile = profiles[name];
    return service.create(vmName, this.#hardware(name), parameters);
  }

  /** Boots the profile's guest and saves its state, where that was not done before. */
  async prepare(service: RealService, profile: ProfileName): Promise<void> {
    const { cold }: Profile = profiles[profile];
    if (cold !== true) await this.#golden(service, profile);
  }

  isPrepared(profile: ProfileName): boolean {
    const { cold }: Profile = profiles[profile];
    return cold === true || this.#done.has(profile);
  }

  /** Made by whoever wants it first; made again where that failed. */
  #golden(service: RealService, profile: ProfileName): Promise<Golden> {
    const made = this.#made.get(profile);
    if (made !== undefined) return made;
    const making = this.#tryToMake(service, profile);
    this.#made.set(profile, making);
    making.then(
      () => this.#done.add(profile),
      () => this.#made.delete(profile),
    );
    return making;
  }

  async #tryToMake(service: RealService, profile: ProfileName): Promise<Golden> {
    for (let attempt = 1; ; attempt += 1) {
      const golden = await this.#make(service, profile);
      // What fired is disarmed, and would be in every round that begins with that state.
      if (!service.heard.types(nameOf(profile)).includes('heartbeatStopped')) return golden;
      if (attempt === attempts)
        throw new Error(`${nameOf(profile)} stopped ${attempt} times before the fault`);
      service.heard.events.length = 0;
    }
  }

  async #make(service: RealService, profile: ProfileName): Promise<Golden> {
    const name = nameOf(profile);
    const vm = await this.#create(service, profile, name);
    await (await vm.startup()).waitForCompletion(60_000);
    const { files } = await vm.refresh();
    const { ticks, answers, prepared }: Profile = profiles[profile];
    await eventually(
      () => readFileSync(files.serialLog, 'latin1').includes('vmpulse-guest ready'),
      () => `${name} to be ready`,
    );
    if (prepared !== undefined) await service.tell(vm, prepared);
    if (ticks) await service.heard.wait(name, 'heartbeatStarted');
    if (answers)
      await eventually(
        async () => (await vm.guestOS.info()).canShutdown,
        () => `the agent of ${name} to answer`,
      );
    await delay(settleMs);
    await (await vm.save()).waitForCompletion(60_000);
    const folder = join(this.#folder, profile);
    mkdirSync(folder, { recursive: true });
    for (const file of [state, description]) copyFileSync(join(files.directory, file), join(folder, file));
    const { boot } = vm.info;
    await (await vm.discardSavedState()).waitForCompletion(60_000);
    await vm.delete();
    // As it was given: the order of what it is made of counts when a state is restored.
    const configuration = { ...this.#hardware(profile), ...(boot === null ? {} : { boot }) };
    return { folder, configuration };
  }

  #hardware(name: ProfileName): Partial<VmConfiguration> {
    const profile: Profile = profiles[name];
    const disks = profile.disk === true ? [{ file: this.#disk, readOnly: true }] : [];
    return { ...profile.configuration, disks };
  }
}
