/** Drafts and effects as the writer's thread gets them. What cannot be stored is refused here, before it can queue. */
import { type EventDraft, VmError, eventTypes } from '@vmpulse/wire';
import { beginsLife, type MachineEffect, type StoredDocument } from '../machine-record.ts';
import type { EventRow, RowEffect, WriteItem } from './protocol.ts';
import { maxStoredJsonBytes } from './store-limits.ts';

/** Times that a Date can hold, ms. */
const maxTimeMs = 8.64e15;

function toJson(value: unknown, what: string): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(value);
  } catch (error) {
    throw new VmError('E_INVALIDARG', `${what} is no JSON.`, { cause: error });
  }
  if (json === undefined) throw new VmError('E_INVALIDARG', `${what} is no JSON.`);
  if (json.length > maxStoredJsonBytes) {
    throw new VmError('E_INVALIDARG', `${what} is longer than ${maxStoredJsonBytes} bytes.`);
  }
  return json;
}

/** An effect that a caller gives with an event. Errors: E_INVALIDARG. */
export function encodeEffect(effect: MachineEffect): RowEffect[] {
  if ('remove' in effect) return [{ op: 'remove', vmId: effect.remove }];
  if ('documents' in effect) return effect.documents.map(encodeDocument);
  return [{ op: 'put', vmId: effect.put.id, record: toJson(effect.put, 'The machine') }];
}

/** A document as it is written. Errors: E_INVALIDARG. */
function encodeDocument({ kind, key, value }: StoredDocument): RowEffect {
  const json = value === null ? null : toJson(value, `The ${kind} '${key}'`);
  return { op: 'document', kind, key, value: json };
}

/** An event with all that it means for the stored machine. Errors: E_INVALIDARG. */
export function encodeEvent(
  draft: EventDraft,
  effect?: MachineEffect,
): WriteItem & { readonly event: EventRow } {
  if (!(draft.type in eventTypes)) throw new VmError('E_INVALIDARG', `There is no event type ${draft.type}.`);
  if (!(Math.abs(draft.timeMs) <= maxTimeMs)) {
    throw new VmError('E_INVALIDARG', `The time ${draft.timeMs} of a ${draft.type} is no time.`);
  }
  const effects = impliedEffects(draft);
  if (effect !== undefined) effects.push(...encodeEffect(effect));
  const event: EventRow = {
    type: draft.type,
    vmId: draft.vm?.id ?? null,
    vmName: draft.vm?.name ?? null,
    timeMs: Math.trunc(draft.timeMs),
    data: toJson(draft.data, `The data of a ${draft.type}`),
  };
  return { event, effects };
}

/** What an event means for what is stored. Conditions are opened and closed by the writer, by their rules. */
function impliedEffects(draft: EventDraft): RowEffect[] {
  const vmId = draft.vm?.id;
  if (draft.type === 'holdStarted') {
    const { reason, until } = draft.data;
    const hold = {
      vmId: vmId ?? '',
      reason,
      sinceMs: Math.trunc(draft.timeMs),
      untilMs: Date.parse(until),
    };
    return [{ op: 'hold', hold }];
  }
  if (draft.type === 'holdEnded') return [{ op: 'endHold', vmId: vmId ?? '' }];
  if (vmId === undefined) return [];
  if (draft.type === 'vmDeleted') return [{ op: 'endHold', vmId }];
  const effects: RowEffect[] =
    draft.type === 'stateChanged' ? [{ op: 'state', vmId, state: draft.data.state }] : [];
  if (beginsLife(draft)) effects.push({ op: 'forgetVerdict', vmId });
  return effects;
}

/** JSON in an item, bytes (UTF-16 units: near enough for a bound). */
export function itemBytes({ event, effects }: WriteItem): number {
  let bytes = event?.data.length ?? 0;
  for (const effect of effects) {
    if (effect.op === 'put') bytes += effect.record.length;
    else if (effect.op === 'document') bytes += effect.value?.length ?? 0;
  }
  return bytes;
}
