/** Incidents as a client asks for them. */
import { type IncidentInfo, VmError } from '@vmpulse/wire';
import { readIncidentContent, readIncidentInfo, readList } from './answer.ts';
import type { Link } from './link.ts';
import type { RequestOptions } from './transport.ts';

/** What was kept of guests that stopped, before anything was done to them; see VirtualServer.incidents. */
export class Incidents {
  readonly #link: Link;

  constructor(link: Link) {
    this.#link = link;
  }

  /** The newest first. */
  async list(options: RequestOptions = {}): Promise<IncidentInfo[]> {
    return readList(await this.#link.request('GET', '/v1/incidents', options), 'incidents', readIncidentInfo);
  }

  /** By the number of its heartbeatStopped event. Errors: VMPULSE_E_NOT_FOUND. */
  async get(seq: number, options: RequestOptions = {}): Promise<IncidentInfo> {
    return readIncidentInfo(await this.#link.request('GET', incidentPath(seq), options));
  }

  /** A file of it, whole; a memory dump is better read with `pieces`. Errors: VMPULSE_E_NOT_FOUND. */
  async file(seq: number, name: string, options: RequestOptions = {}): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for await (const piece of this.pieces(seq, name, options)) pieces.push(piece);
    return new Uint8Array(await new Blob(pieces as BlobPart[]).arrayBuffer());
  }

  /** A file of it, however large, in pieces of a few MiB. Errors: VMPULSE_E_NOT_FOUND. */
  async *pieces(seq: number, name: string, options: RequestOptions = {}): AsyncGenerator<Uint8Array, void> {
    const path = `${incidentPath(seq)}/files/${encodeURIComponent(name)}`;
    for (let offset = 0, size = 1; offset < size;) {
      const answered = await this.#link.request('GET', `${path}?offset=${offset}`, options);
      const { base64, bytes } = readIncidentContent(answered);
      const text = atob(base64);
      const piece = new Uint8Array(text.length);
      for (let at = 0; at < text.length; at += 1) piece[at] = text.codePointAt(at) ?? 0;
      size = bytes;
      offset += piece.length;
      if (piece.length === 0) return;
      yield piece;
    }
  }
}

/** Errors: E_INVALIDARG. */
function incidentPath(seq: number): string {
  if (Number.isSafeInteger(seq) && seq > 0) return `/v1/incidents/${seq}`;
  throw new VmError('E_INVALIDARG', `An incident goes by the number of its event, not by ${seq}.`);
}
