import { type JsonSchema, schemas } from '@vmpulse/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpFixture, ask, draft, startHttp } from '../../../../test/support/http-fixture.ts';

interface Operation {
  operationId: string;
  summary: string;
  security?: object[];
  parameters?: { name: string; in: string; required?: boolean }[];
  requestBody?: { content: Record<string, { schema: JsonSchema }> };
  responses: Record<string, { description?: string; content?: Record<string, { schema?: JsonSchema }> }>;
}
interface Document {
  openapi: string;
  info: { title: string; version: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, JsonSchema>; securitySchemes: Record<string, unknown> };
  security: object[];
}

const expected = [
  'DELETE /v1/holds',
  'DELETE /v1/vms/{vm}',
  'DELETE /v1/vms/{vm}/hold',
  'GET /healthz',
  'GET /metrics',
  'GET /openapi.json',
  'GET /readyz',
  'GET /v1/events',
  'GET /v1/holds',
  ...['/v1/scripts/{eventType}', '/v1/vms/{vm}/scripts/{eventType}'].flatMap((path) =>
    ['DELETE', 'GET', 'PUT'].map((method) => `${method} ${path}`),
  ),
  'GET /v1/scripts',
  'GET /v1/vms/{vm}/scripts',
  'GET /v1/script-settings',
  'PATCH /v1/script-settings',
  'GET /v1/incidents',
  'GET /v1/incidents/{seq}',
  'GET /v1/incidents/{seq}/files/{name}',
  'GET /v1/recovery',
  'GET /v1/server',
  'GET /v1/tasks',
  'GET /v1/tasks/{id}',
  'GET /v1/vms',
  'GET /v1/vms/{vm}',
  'GET /v1/vms/{vm}/guest',
  'GET /v1/vms/{vm}/guest/parameters/{name}',
  'GET /v1/vms/{vm}/recovery',
  'PATCH /v1/vms/{vm}',
  'POST /v1/tasks/{id}/cancel',
  'POST /v1/vms',
  'PUT /v1/holds',
  'POST /v1/vms/{vm}/recovery/rearm',
  'PUT /v1/recovery',
  'PUT /v1/vms/{vm}/guest/parameters/{name}',
  'PUT /v1/vms/{vm}/hold',
  'GET /v1/subscriptions',
  ...['GET', 'PUT', 'DELETE'].map((method) => `${method} /v1/subscriptions/{name}`),
  ...['GET /events', 'POST /ack', 'POST /nack', 'GET /dead-letters'].map((one) =>
    one.replace(' ', ' /v1/subscriptions/{name}'),
  ),
  'POST /v1/subscriptions/{name}/dead-letters/{seq}/replay',
  'DELETE /v1/subscriptions/{name}/dead-letters/{seq}',
  ...['GET', 'POST'].map((method) => `${method} /v1/webhooks`),
  ...['DELETE', 'GET', 'PATCH'].map((method) => `${method} /v1/webhooks/{name}`),
  'POST /v1/webhooks/{name}/test',
  'POST /v1/webhooks/{name}/rotate',
  'DELETE /v1/webhooks/{name}/dead-letters',
  'DELETE /v1/webhooks/{name}/dead-letters/{seq}',
  'GET /v1/webhooks/{name}/dead-letters',
  'POST /v1/webhooks/{name}/dead-letters/replay',
  'POST /v1/webhooks/{name}/dead-letters/{seq}/replay',
  ...[
    'discard-saved-state',
    'guest/execute',
    'guest/freeze',
    'guest/thaw',
    'inject-nmi',
    'pause',
    'reset',
    'resume',
    'save',
    'shutdown',
    'startup',
    'turn-off',
  ].map((operation) => `POST /v1/vms/{vm}/${operation}`),
];

describe('the OpenAPI document', () => {
  let http: HttpFixture;
  let document: Document;
  let operations: [string, Operation][];

  beforeAll(async () => {
    http = await startHttp();
    document = (await ask(http, 'GET', '/openapi.json')).json as unknown as Document;
    operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, one]): [string, Operation] => [
        `${method.toUpperCase()} ${path}`,
        one,
      ]),
    );
  });

  afterAll(async () => {
    await http.server.close();
  });

  const resolve = (reference: string): unknown =>
    reference
      .replace(/^#\//, '')
      .split('/')
      .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], document);

  it('is one of version 3.1, with the version of the service and the token', () => {
    expect(document).toMatchObject({
      openapi: '3.1.0',
      info: { title: 'vmpulse', version: '1.2.3' },
      security: [{ token: [] }],
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    });
  });

  it('has every route and no other', () => {
    const found = operations.map(([name]) => name).filter((name) => !name.startsWith('HEAD '));
    expect(found.toSorted()).toEqual(expected.toSorted());
    const ids = operations.filter(([name]) => !name.startsWith('HEAD ')).map(([, one]) => one.operationId);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('refers to nothing that is not in it', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, to]) => to ?? '');
    expect(references.length).toBeGreaterThan(30);
    expect(references.filter((to) => resolve(to) === undefined)).toEqual([]);
    expect(Object.keys(document.components.schemas).toSorted()).toEqual(
      schemas.map(({ $id }) => $id).toSorted(),
    );
  });

  it('says of every operation what it answers, failures as problem documents included', () => {
    for (const [name, { summary, responses, parameters = [] }] of operations) {
      expect(summary, name).toBeTruthy();
      expect(
        Object.keys(responses).some((status) => status.startsWith('2')),
        name,
      ).toBe(true);
      for (const status of ['4XX', '5XX']) {
        const problem = responses[status]?.content?.['application/problem+json']?.schema;
        expect(problem, `${name} ${status}`).toEqual({ $ref: '#/components/schemas/Problem' });
      }
      for (const [status, { description }] of Object.entries(responses))
        expect(description, `${name} ${status}`).toBeTruthy();
      const inPath = [...name.matchAll(/\{(\w+)\}/g)].map(([, one]) => one);
      expect(
        parameters.filter((one) => one.in === 'path').map((one) => one.name),
        name,
      ).toEqual(inPath);
    }
  });

  it('says which need no token, and describes the stream', () => {
    const open = operations.filter(([, { security }]) => security?.length === 0).map(([name]) => name);
    expect(open.filter((name) => !name.startsWith('HEAD'))).toEqual(['GET /healthz', 'GET /readyz']);
    const events = document.paths['/v1/events']?.['get'];
    expect(Object.keys(events?.responses['200']?.content ?? {})).toEqual([
      'application/json',
      'text/event-stream',
    ]);
    expect(events?.parameters?.map(({ name }) => name).toSorted()).toEqual([
      'after',
      'last-event-id',
      'limit',
      'type',
      'vm',
    ]);
  });

  /** What of `value` its schema does not know, or knows otherwise. */
  function differences(value: unknown, given: JsonSchema, at: string): string[] {
    const schema = (typeof given['$ref'] === 'string' ? resolve(given['$ref']) : given) as Record<
      string,
      unknown
    >;
    const alternatives = (schema['anyOf'] ?? schema['oneOf']) as JsonSchema[] | undefined;
    if (alternatives !== undefined && schema['type'] === undefined) {
      const tried = alternatives.map((one) => differences(value, one, at));
      return tried.find((found) => found.length === 0) ?? tried.flat();
    }
    const type = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
    const types = schema['type'] === undefined ? [type] : [schema['type']].flat();
    const fits = types.includes(type) || (types.includes('integer') && Number.isInteger(value));
    if (!fits) return [`${at} is ${type}`];
    const values = schema['enum'] as unknown[] | undefined;
    if (values?.includes(value) === false) return [`${at} is none of its values`];
    if (Array.isArray(value)) {
      return value.flatMap((item, index) =>
        differences(item, (schema['items'] ?? {}) as JsonSchema, `${at}/${index}`),
      );
    }
    if (typeof value !== 'object' || value === null) return [];
    const properties = (schema['properties'] ?? {}) as Record<string, JsonSchema>;
    const missing = ((schema['required'] ?? []) as string[]).filter((key) => !(key in value));
    const more = schema['additionalProperties'] as JsonSchema | undefined;
    return [
      ...missing.map((key) => `${at}/${key} is missing`),
      ...Object.entries(value).flatMap(([key, one]) => {
        const property = properties[key] ?? more;
        if (property === undefined) return [`${at}/${key} is not described`];
        return differences(one, property, `${at}/${key}`);
      }),
    ];
  }

  it('describes what is really answered', async () => {
    await http.log.append(draft({ id: 'x', name: 'x' }));
    const asked: [string, string, string, unknown?][] = [
      ['GET', '/v1/server', '/v1/server'],
      ['GET', '/v1/vms', '/v1/vms'],
      ['POST', '/v1/vms', '/v1/vms', { name: 'new' }],
      ['PATCH', '/v1/vms/web-1', '/v1/vms/{vm}', {}],
      ['GET', '/v1/vms/web-1', '/v1/vms/{vm}'],
      ['GET', '/v1/vms/web-1/guest', '/v1/vms/{vm}/guest'],
      ['POST', '/v1/vms/web-1/reset', '/v1/vms/{vm}/reset'],
      ['POST', '/v1/vms/web-1/guest/execute', '/v1/vms/{vm}/guest/execute', { path: 'uptime' }],
      ['GET', '/v1/vms/web-1/guest/parameters/a%2Fb', '/v1/vms/{vm}/guest/parameters/{name}'],
      ['PUT', '/v1/vms/web-1/guest/parameters/a', '/v1/vms/{vm}/guest/parameters/{name}', { value: 'v' }],
      ['POST', '/v1/vms/web-1/guest/freeze', '/v1/vms/{vm}/guest/freeze'],
      ['POST', '/v1/vms/web-1/guest/thaw', '/v1/vms/{vm}/guest/thaw'],
      ['PUT', '/v1/holds', '/v1/holds', { seconds: 60, reason: 'r' }],
      ['PUT', '/v1/vms/web-1/hold', '/v1/vms/{vm}/hold', { seconds: 60, reason: 'r' }],
      ['GET', '/v1/holds', '/v1/holds'],
      ['GET', '/v1/tasks', '/v1/tasks'],
      ['GET', '/v1/tasks/1', '/v1/tasks/{id}'],
      ['POST', '/v1/tasks/1/cancel', '/v1/tasks/{id}/cancel'],
    ];
    for (const [method, path, pattern, body] of asked) {
      const { status, json } = await ask(http, method, path, { body });
      const { responses } = document.paths[pattern]![method.toLowerCase()]!;
      const schema = responses[String(status)]?.content?.['application/json']?.schema;
      expect(schema, `${method} ${path} ${status}`).toBeDefined();
      expect(differences(json, schema as JsonSchema, ''), `${method} ${path}`).toEqual([]);
    }
    const problem = (await ask(http, 'GET', '/v1/vms/none')).json;
    expect(differences(problem, document.components.schemas['Problem'] as JsonSchema, '')).toEqual([]);
  });

  it('describes an event as the one of its type', async () => {
    const { events } = await http.log.read({ after: 0, limit: 1 });
    const variants = document.components.schemas['VmEvent']?.['oneOf'] as JsonSchema[];
    const fitting = variants.filter(({ title }) => title === 'configurationChanged');
    expect(fitting.length).toBe(1);
    const [{ data: schema }] = fitting.map((one) => one['properties'] as Record<string, JsonSchema>) as [
      Record<string, JsonSchema>,
    ];
    const { vm: _, ...data } = events[0]!.data as unknown as Record<string, unknown>;
    expect(differences(data, schema as JsonSchema, '')).toEqual([]);
  });
});
