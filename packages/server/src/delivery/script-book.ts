/** Which scripts are attached, and whether they run: documents, written with the events that tell of their changes. */
import {
  type EventDraft,
  type ScriptInfo,
  type ScriptSettings,
  type ScriptTrigger,
  VmError,
  type VmEvent,
  type VmReference,
  findScriptTrigger,
  isEvent,
  scriptKeyPrefix,
  scriptTriggerNumber,
  scriptTriggersOf,
} from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import { durableAppendTimeoutMs, maxScripts } from '../limits.ts';
import type { DocumentStore, StoredDocument } from '../machine-record.ts';
import { checkScriptRequest, checkScriptSettings } from './script-request.ts';

/** What the book works with. */
export interface ScriptBookPorts {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly store: DocumentStore;
  /** A machine by its name or id. Errors: VM_E_VM_UNKNOWN. */
  readonly findVm: (vm: string) => VmReference;
}

/** A script that is attached: what is stored of it. */
export interface Script {
  /** The machine; null: the server's. */
  readonly vmId: string | null;
  readonly trigger: ScriptTrigger;
  readonly command: readonly string[];
  readonly timeoutSeconds: number;
  /** Wall time, ms since 1970. */
  readonly attachedMs: number;
  /** It runs for events with a greater seq. */
  readonly sinceSeq: number;
}

/** Under which it is stored; there is one for each machine and trigger. */
export function scriptKey({ vmId, trigger }: Pick<Script, 'vmId' | 'trigger'>): string {
  return `${vmId ?? 'server'}/${trigger}`;
}

interface StoredSettings extends ScriptSettings {
  /** Events with a greater seq run scripts of the server, and of machines: since they were last enabled. */
  readonly vsSinceSeq: number;
  readonly vmSinceSeq: number;
}

const scriptKind = 'script';
const settingsKind = 'scriptSettings';

/** All attached scripts. */
export class ScriptBook {
  readonly #ports: ScriptBookPorts;
  readonly #scripts = new Map<string, Script>();
  #settings: StoredSettings = {
    vsScriptsEnabled: false,
    vmScriptsEnabled: false,
    vsSinceSeq: 0,
    vmSinceSeq: 0,
  };

  constructor(ports: ScriptBookPorts) {
    this.#ports = ports;
  }

  /** Takes what is stored. */
  async load(): Promise<void> {
    const { store } = this.#ports;
    for (const { key, value } of await store.loadDocuments(scriptKind))
      this.#scripts.set(key, value as Script);
    const [settings] = await store.loadDocuments(settingsKind);
    if (settings !== undefined) this.#settings = settings.value as StoredSettings;
  }

  get settings(): ScriptSettings {
    const { vsScriptsEnabled, vmScriptsEnabled } = this.#settings;
    return { vsScriptsEnabled, vmScriptsEnabled };
  }

  /** Is it the one that is attached, and may it run? */
  isOn(script: Script): boolean {
    return this.#scripts.get(scriptKey(script)) === script && this.#enabled(script);
  }

  /** The server's first, then by machine and trigger; `vmId` undefined: all. */
  list(vmId: string | null | undefined): Script[] {
    return [...this.#scripts.values()]
      .filter((script) => vmId === undefined || script.vmId === vmId)
      .toSorted((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
  }

  /** Errors: VM_E_VM_UNKNOWN. */
  vmIdOf(vm: string | null): string | null {
    return vm === null ? null : this.#ports.findVm(vm).id;
  }

  /** Errors: VM_E_VM_UNKNOWN, E_INVALIDARG, VMPULSE_E_NOT_FOUND. */
  fetch(vm: string | null, eventType: string): Script {
    const place = { vmId: this.vmIdOf(vm), trigger: triggerOf(eventType) };
    const script = this.#scripts.get(scriptKey(place));
    if (script !== undefined) return script;
    const whose = vm === null ? 'to the server' : `to '${vm}'`;
    throw new VmError(
      'VMPULSE_E_NOT_FOUND',
      `No script is attached ${whose} for ${place.trigger}; see the list of scripts (vmpulse script list).`,
    );
  }

  /** The scripts that an event runs. */
  matching(event: VmEvent): Script[] {
    const { vm } = event.data;
    // The original raises what befalls a host's disk on each machine that has one on it.
    const vms = isEvent(event, 'diskSpaceLow') ? event.data.machines : vm === undefined ? [] : [vm];
    return scriptTriggersOf(event).flatMap((trigger) =>
      [null, ...vms.map(({ id }) => id)].flatMap((owner) => {
        const script = this.#scripts.get(scriptKey({ vmId: owner, trigger }));
        if (script === undefined || !this.#enabled(script)) return [];
        return event.seq > Math.max(script.sinceSeq, this.#enabledSince(script)) ? [script] : [];
      }),
    );
  }

  /** Errors: those of ScriptService. */
  async attach(vm: string | null, eventType: string, request: unknown): Promise<Script> {
    const { clock, log } = this.#ports;
    const trigger = triggerOf(eventType);
    const vmId = this.vmIdOf(vm);
    const key = scriptKey({ vmId, trigger });
    const checked = checkScriptRequest(request);
    if (this.#scripts.has(key)) {
      throw new VmError(
        'VM_E_SCRIPT_ALREADY_EXISTS',
        `A script is attached for ${trigger} already; remove it before you attach another.`,
      );
    }
    if (this.#scripts.size >= maxScripts) {
      const detail = `The server has ${maxScripts} scripts, as many as it takes; remove one.`;
      throw new VmError('VM_E_OUT_OF_RESOURCE', detail);
    }
    this.#requireWritable();
    const sinceSeq = log.state().lastSeq;
    const script: Script = { vmId, trigger, ...checked, attachedMs: clock.wallMs(), sinceSeq };
    this.#scripts.set(key, script);
    const written = this.#tell(vmId, trigger, checked.command[0], [{ kind: scriptKind, key, value: script }]);
    const undone = written.catch((error: unknown) => {
      if (this.#scripts.get(key) === script) this.#scripts.delete(key);
      throw error;
    });
    await this.#durable(undone);
    return script;
  }

  /** `also` goes with it. Errors: VMPULSE_E_LOG_UNAVAILABLE. */
  async remove(script: Script, also: readonly StoredDocument[]): Promise<void> {
    this.#requireWritable();
    const key = scriptKey(script);
    this.#scripts.delete(key);
    const documents = [{ kind: scriptKind, key, value: null }, ...also];
    const written = this.#tell(script.vmId, script.trigger, null, documents);
    const undone = written.catch((error: unknown) => {
      if (!this.#scripts.has(key)) this.#scripts.set(key, script);
      throw error;
    });
    await this.#durable(undone);
  }

  /** What removes the scripts of a machine that is gone. */
  forget(vmId: string): StoredDocument[] {
    return this.list(vmId).map((script) => ({ kind: scriptKind, key: scriptKey(script), value: null }));
  }

  /** They are: once that is durable. */
  forgotten(vmId: string): void {
    for (const script of this.list(vmId)) this.#scripts.delete(scriptKey(script));
  }

  /** Errors: VMPULSE_E_REQUEST_INVALID, VMPULSE_E_LOG_UNAVAILABLE. */
  async changeSettings(change: unknown): Promise<void> {
    const checked = checkScriptSettings(change);
    this.#requireWritable();
    const { lastSeq } = this.#ports.log.state();
    const before = this.#settings;
    const after = { ...before, ...checked };
    this.#settings = {
      ...after,
      vsSinceSeq: after.vsScriptsEnabled && !before.vsScriptsEnabled ? lastSeq : before.vsSinceSeq,
      vmSinceSeq: after.vmScriptsEnabled && !before.vmScriptsEnabled ? lastSeq : before.vmSinceSeq,
    };
    const documents = [{ kind: settingsKind, key: 'enabled', value: this.#settings }];
    const changed = (['vsScriptsEnabled', 'vmScriptsEnabled'] as const).filter(
      (key) => before[key] !== after[key],
    );
    const told = Promise.all(changed.map((key) => this.#tell(null, key, after[key], documents)));
    const undone = told.catch((error: unknown) => {
      this.#settings = before;
      throw error;
    });
    await this.#durable(undone);
  }

  /** As it is shown. */
  describe(script: Script, pending: number): ScriptInfo {
    const { vmId, trigger, command, timeoutSeconds, attachedMs } = script;
    return {
      scope: vmId === null ? 'server' : 'vm',
      ...(vmId === null ? {} : { vm: this.#reference(vmId) }),
      trigger,
      eventType: scriptTriggerNumber(trigger) ?? null,
      command: [...command],
      timeoutSeconds,
      attachedAt: new Date(attachedMs).toISOString(),
      enabled: this.#enabled(script),
      pending,
    };
  }

  #enabled({ vmId }: Script): boolean {
    return vmId === null ? this.#settings.vsScriptsEnabled : this.#settings.vmScriptsEnabled;
  }

  #enabledSince({ vmId }: Script): number {
    return vmId === null ? this.#settings.vsSinceSeq : this.#settings.vmSinceSeq;
  }

  #reference(vmId: string): VmReference {
    try {
      return this.#ports.findVm(vmId);
    } catch {
      return { id: vmId, name: vmId };
    }
  }

  async #tell(
    vmId: string | null,
    key: string,
    value: unknown,
    documents: readonly StoredDocument[],
  ): Promise<void> {
    const draft: EventDraft = {
      type: 'configurationChanged',
      ...(vmId === null ? {} : { vm: this.#reference(vmId) }),
      timeMs: this.#ports.clock.wallMs(),
      data: { key: scriptKeyPrefix + key, value, effective: 'now' },
    };
    await this.#ports.log.append(draft, { documents });
  }

  #requireWritable(): void {
    const { writable, error } = this.#ports.log.state();
    if (writable) return;
    const detail = `The event log cannot be written (${error ?? 'unknown'}); make room on its disk and try again.`;
    throw new VmError('VMPULSE_E_LOG_UNAVAILABLE', detail);
  }

  async #durable(written: Promise<unknown>): Promise<void> {
    await withDeadline(this.#ports.clock, written, durableAppendTimeoutMs, () => {
      const detail = 'The event log did not write in time; what was asked for takes effect once it does.';
      return new VmError('VMPULSE_E_LOG_UNAVAILABLE', detail);
    });
  }
}

function sortKey({ vmId, trigger }: Script): string {
  return `${vmId ?? ''}/${trigger}`;
}

/** Errors: E_INVALIDARG. */
function triggerOf(eventType: string): ScriptTrigger {
  const trigger = findScriptTrigger(eventType);
  if (trigger !== undefined) return trigger;
  throw new VmError(
    'E_INVALIDARG',
    `No script can be attached to '${eventType.slice(0, 64)}'; name an event type such as heartbeatStopped, ` +
      'or its VMEventType number.',
  );
}
