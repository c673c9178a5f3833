/** Incidents as HTTP shows them. */
import type { FileHandle } from 'node:fs/promises';
import type { IncidentInfo } from '@vmpulse/wire';

/** What was kept of guests that stopped. Errors of what names one: VMPULSE_E_NOT_FOUND. */
export interface IncidentService {
  /** The newest first. */
  list(): Promise<IncidentInfo[]>;
  get(seq: string): Promise<IncidentInfo>;
  /** A file, opened; the caller closes it. */
  file(seq: string, name: string): Promise<{ readonly bytes: number; readonly handle: FileHandle }>;
}
