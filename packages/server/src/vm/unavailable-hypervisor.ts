/** Stands for a hypervisor that this service does not have, so that machines stored under it are shown and kept. */
import { VmError } from '@vmpulse/wire';
import type { Hypervisor } from '../hypervisor/hypervisor.ts';

const noFiles = { directory: '', serialLog: '', serialSocket: '', vncSocket: '', savedState: '' };

/** Refuses everything; its machines are sought in vain, and nothing is told of them. */
export function unavailableHypervisor(kind: Hypervisor['kind']): Hypervisor {
  const refuse = (): Promise<never> => {
    const detail = `This service has no hypervisor '${kind}'; start it with one.`;
    return Promise.reject(new VmError('E_NOTIMPL', detail));
  };
  return {
    kind,
    capabilities: { save: false, injectNmi: false, sample: false },
    probe: refuse,
    start: refuse,
    adopt: refuse,
    files: () => noFiles,
    hasSavedState: refuse,
    discardSavedState: refuse,
    remove: refuse,
  };
}
