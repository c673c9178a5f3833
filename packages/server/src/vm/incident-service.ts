/** Incidents as HTTP shows them. */
import type { IncidentInfo } from '@vmpulse/wire';

/** What was kept of guests that stopped. Errors of what names one: VMPULSE_E_NOT_FOUND. */
export interface IncidentService {
  /** The newest first. */
  list(): Promise<IncidentInfo[]>;
  get(seq: string): Promise<IncidentInfo>;
  /** A file, whole: each is bounded. */
  file(seq: string, name: string): Promise<Buffer>;
}
