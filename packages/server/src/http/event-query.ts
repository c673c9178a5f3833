/** What a client asks of the event log, read strictly: a misspelt filter must not become "everything". */
import { type EventType, VmError, eventTypeNames, eventTypePrefix } from '@vmpulse/wire';
import { closest } from 'fastest-levenshtein';
import { defaultPageEvents, maxFilterValues, maxPageEvents } from '../limits.ts';

/** A query string as Fastify parses it: repeated keys are lists. */
export type RawQuery = Readonly<Record<string, string | readonly string[] | undefined>>;

/** A query understood. */
export interface EventRequest {
  /** Undefined: not said. */
  readonly after: number | undefined;
  readonly limit: number;
  /** A name or UUID. */
  readonly vm: string | undefined;
  /** Undefined: all. */
  readonly types: readonly EventType[] | undefined;
}

const parameters = ['after', 'limit', 'vm', 'type'] as const;

function invalid(parameter: string, detail: string): VmError {
  return new VmError('VMPULSE_E_REQUEST_INVALID', detail, { field: `/${parameter}` });
}

const shown = (value: string): string =>
  JSON.stringify(value.length > 64 ? `${value.slice(0, 64)}...` : value);

/** A sequence number. Errors: VMPULSE_E_REQUEST_INVALID. */
export function parseSeq(value: string, parameter: string): number {
  const seq = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (Number.isSafeInteger(seq)) return seq;
  throw invalid(
    parameter,
    `${parameter} is ${shown(value)}; give the seq of an event, a whole number from 0.`,
  );
}

function parseLimit(value: string): number {
  const limit = /^\d{1,6}$/.test(value) ? Number(value) : 0;
  if (limit >= 1 && limit <= maxPageEvents) return limit;
  throw invalid('limit', `limit is ${shown(value)}; give a whole number from 1 to ${maxPageEvents}.`);
}

function parseType(value: string): EventType {
  const name = value.startsWith(eventTypePrefix) ? value.slice(eventTypePrefix.length) : value;
  const known = eventTypeNames.find((type) => type === name);
  if (known !== undefined) return known;
  // The distance grows with the product of both lengths; no type is as long as this.
  const near = closest(
    name.slice(0, 64).toLowerCase(),
    eventTypeNames.map((type) => type.toLowerCase()),
  );
  const meant = eventTypeNames.find((type) => type.toLowerCase() === near);
  throw invalid('type', `There is no event type ${shown(value)}; did you mean ${meant}?`);
}

function single(query: RawQuery, parameter: (typeof parameters)[number]): string | undefined {
  const value = query[parameter];
  if (value === undefined || typeof value === 'string') return value;
  throw invalid(parameter, `${parameter} is given ${value.length} times; give it once.`);
}

/** Reads the query of GET /v1/events. Errors: VMPULSE_E_REQUEST_INVALID with the parameter as field. */
export function parseEventQuery(query: RawQuery): EventRequest {
  const unknown = Object.keys(query).find((key) => !parameters.some((parameter) => parameter === key));
  if (unknown !== undefined) {
    const meant = closest(unknown.slice(0, 64), [...parameters]);
    throw invalid(unknown.slice(0, 64), `There is no parameter ${shown(unknown)}; did you mean ${meant}?`);
  }
  const after = single(query, 'after');
  const limit = single(query, 'limit');
  const vm = single(query, 'vm');
  if (vm === '') throw invalid('vm', 'vm is empty; give the name or UUID of a machine, or leave it out.');
  const given = query['type'] === undefined ? [] : [query['type']].flat();
  const names = given.flatMap((value) => value.split(',')).map((name) => name.trim());
  if (names.length > maxFilterValues) throw invalid('type', `There are more than ${maxFilterValues} types.`);
  return {
    after: after === undefined ? undefined : parseSeq(after, 'after'),
    limit: limit === undefined ? defaultPageEvents : parseLimit(limit),
    vm,
    types: names.length === 0 ? undefined : [...new Set(names.map(parseType))],
  };
}

/** Does an Accept header ask for an event stream? `*` in it does not: a page is what most want. */
export function wantsEventStream(accept: string | undefined): boolean {
  return (accept ?? '').split(',').some((range) => {
    const [type, ...rest] = range.split(';').map((part) => part.trim().toLowerCase());
    return type === 'text/event-stream' && !rest.some((part) => /^q=0(\.0*)?$/.test(part));
  });
}
