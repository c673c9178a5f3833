/** Incidents: what was kept of a guest that stopped, before anything was done to it. */
import type { VmReference } from './event.ts';
import {
  type NamedSchema,
  listOf,
  named,
  number,
  objectOf,
  refer,
  text,
  timestamp,
} from './schema-builder.ts';

/** A file of an incident. */
export interface IncidentFile {
  name: string;
  bytes: number;
}

/** What could not be kept, and why. */
export interface MissingEvidence {
  name: string;
  reason: string;
}

/** GET /v1/incidents/{seq}. */
export interface IncidentInfo {
  /** seq of the heartbeatStopped. */
  seq: number;
  vm: VmReference;
  /** When its evidence was gathered, ISO 8601. */
  at: string;
  verdict: string;
  files: IncidentFile[];
  missing: MissingEvidence[];
}

/** GET /v1/incidents/{seq}/files/{name} where JSON is asked for, a piece of the file; else the file as it is. */
export interface IncidentContent {
  name: string;
  /** Of the whole file. */
  bytes: number;
  /** Where the piece begins; 0 unless `?offset=` says otherwise. */
  offset: number;
  base64: string;
}

const incident = objectOf<IncidentInfo>(
  {
    seq: number('seq of the heartbeatStopped.'),
    vm: refer('VmReference'),
    at: timestamp,
    verdict: text(),
    files: listOf(objectOf<IncidentFile>({ name: text(), bytes: number() }, {})),
    missing: listOf(objectOf<MissingEvidence>({ name: text(), reason: text() }, {})),
  },
  {},
);

/** Named schemas of incidents. */
export const incidentSchemas: readonly NamedSchema[] = [
  named('IncidentInfo', 'What was kept of a guest that stopped.', incident),
  named(
    'IncidentList',
    'Every incident that is kept, the newest first.',
    objectOf<{ incidents: IncidentInfo[] }>({ incidents: listOf(refer('IncidentInfo')) }, {}),
  ),
  named(
    'IncidentContent',
    'A piece of a file of an incident.',
    objectOf<IncidentContent>(
      {
        name: text(),
        bytes: number('Of the whole file.'),
        offset: number('Where the piece begins.'),
        base64: text(),
      },
      {},
    ),
  ),
];
