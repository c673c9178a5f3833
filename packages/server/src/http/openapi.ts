/** The OpenAPI document: made from the routes' own schemas, so that it cannot tell of others. */
import swagger from '@fastify/swagger';
import { schemas } from '@vmpulse/wire';
import type { FastifyInstance, FastifySchema } from 'fastify';
import { problemType } from './problem.ts';

/** A route's schema: everything Fastify's has, and what OpenAPI adds. */
export type RouteDescription = Pick<
  FastifySchema,
  'body' | 'querystring' | 'params' | 'headers' | 'response'
> & {
  readonly description?: string;
  readonly security?: readonly object[];
};

const problem = (description: string): object => ({
  description,
  content: { [problemType]: { schema: { $ref: 'Problem#' } } },
});

/** The schema of a route; each can fail with a problem document. */
export function describeRoute(operationId: string, summary: string, schema: RouteDescription): FastifySchema {
  const response = schema.response as Record<string, unknown>;
  return {
    ...schema,
    operationId,
    summary,
    response: {
      ...response,
      '4xx': problem('The request cannot be served as it is; `detail` says what to do.'),
      '5xx': problem('The server, or what it depends on, failed.'),
    },
  } as FastifySchema;
}

/** An answer in JSON with the named schema. */
export function jsonAnswer(description: string, name: string): object {
  return { description, content: { 'application/json': { schema: { $ref: `${name}#` } } } };
}

/** Gathers the routes that are registered after this. */
export async function useOpenApi(app: FastifyInstance, version: string): Promise<void> {
  for (const schema of schemas) app.addSchema(schema);
  await app.register(swagger, {
    convertConstToEnum: false,
    refResolver: {
      buildLocalReference: (json, _base, _fragment, index) =>
        typeof json['$id'] === 'string' ? json['$id'] : `Schema${index}`,
    },
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'vmpulse',
        version,
        description:
          'A virtual server that tells its clients the moment a virtual machine has stopped running.',
        license: { name: 'MIT' },
      },
      servers: [{ url: '/' }],
      components: {
        securitySchemes: {
          token: {
            type: 'http',
            scheme: 'bearer',
            description: 'The file `token` of the data directory. Not needed on the Unix socket.',
          },
        },
      },
      security: [{ token: [] }],
    },
  });
}
