/** Builds the JSON Schemas so that the compiler holds them against the interfaces they describe. */

/** A JSON Schema (2020-12, as OpenAPI 3.1 takes it), as a plain object. */
export type JsonSchema = { readonly [keyword: string]: unknown };

/** A schema with a name of its own, referred to as `Name#`. */
export type NamedSchema = JsonSchema & { readonly $id: string };

type OptionalKeys<T> = { [K in keyof T]-?: Pick<T, K> extends Required<Pick<T, K>> ? never : K }[keyof T];
type RequiredKeys<T> = Exclude<keyof T, OptionalKeys<T>>;

/**
 * An object whose properties are exactly those of `T`: a property that the interface gains, loses or makes optional
 * does not compile until the schema follows.
 */
export function objectOf<T>(
  required: { readonly [K in RequiredKeys<T>]: JsonSchema },
  optional: { readonly [K in OptionalKeys<T>]: JsonSchema },
): JsonSchema {
  return {
    type: 'object',
    properties: { ...(required as JsonSchema), ...(optional as JsonSchema) },
    required: Object.keys(required),
  };
}

/** The schema under a name. */
export function named($id: string, description: string, schema: JsonSchema): NamedSchema {
  return { $id, description, ...schema };
}

/** A reference to a named schema. */
export function refer(name: string): JsonSchema {
  return { $ref: `${name}#` };
}

/** `schema` or null. */
export function orNull(schema: JsonSchema): JsonSchema {
  return typeof schema['type'] === 'string' && !('enum' in schema)
    ? { ...schema, type: [schema['type'], 'null'] }
    : { anyOf: [schema, { type: 'null' }] };
}

/** A list of `items`. */
export function listOf(items: JsonSchema, maxItems?: number): JsonSchema {
  return { type: 'array', items, ...(maxItems === undefined ? {} : { maxItems }) };
}

/** One of `values`. */
export function oneOf(values: readonly string[], description?: string): JsonSchema {
  return { type: 'string', enum: [...values], ...(description === undefined ? {} : { description }) };
}

/** A string. */
export function text(description?: string): JsonSchema {
  return { type: 'string', ...(description === undefined ? {} : { description }) };
}

/** A point in wall time, ISO 8601. */
export const timestamp: JsonSchema = { type: 'string', format: 'date-time' };

/** True or false. */
export const flag: JsonSchema = { type: 'boolean' };

/** A number, whole unless `type` says otherwise. */
export function number(description?: string, bounds: JsonSchema = {}): JsonSchema {
  return { type: 'integer', ...bounds, ...(description === undefined ? {} : { description }) };
}

/** A duration in milliseconds, with fraction. */
export function milliseconds(description?: string): JsonSchema {
  return { type: 'number', ...(description === undefined ? {} : { description }) };
}
