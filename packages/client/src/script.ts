/** Scripts on events as a client asks for them. */
import type { ScriptInfo, ScriptRequest, ScriptTrigger } from '@vmpulse/wire';
import { readList, readScriptInfo } from './answer.ts';
import type { Link } from './link.ts';
import type { RequestOptions } from './transport.ts';

/** How a script is attached. */
export interface AttachScriptOptions extends RequestOptions {
  /** It is ended after this, 1 to 3,600; default 60. */
  timeoutSeconds?: number;
}

/** Where the server's own scripts are. */
export const serverScripts = '/v1/scripts';

function pathOf(scripts: string, eventType: ScriptTrigger | number): string {
  return `${scripts}/${encodeURIComponent(eventType)}`;
}

/** Attaches one. Errors: VM_E_SCRIPT_ALREADY_EXISTS, E_INVALIDARG, VMPULSE_E_REQUEST_INVALID (with `field`). */
export async function attachScript(
  link: Link,
  scripts: string,
  eventType: ScriptTrigger | number,
  command: readonly string[],
  options: AttachScriptOptions,
): Promise<ScriptInfo> {
  const { timeoutSeconds, ...request } = options;
  const body: ScriptRequest = {
    command: [...command],
    ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
  };
  return readScriptInfo(await link.request('PUT', pathOf(scripts, eventType), { ...request, body }));
}

/** The one that is attached. Errors: VMPULSE_E_NOT_FOUND, E_INVALIDARG. */
export async function fetchScript(
  link: Link,
  scripts: string,
  eventType: ScriptTrigger | number,
  options: RequestOptions,
): Promise<ScriptInfo> {
  return readScriptInfo(await link.request('GET', pathOf(scripts, eventType), options));
}

/** Removes it. Errors: VMPULSE_E_NOT_FOUND, E_INVALIDARG. */
export async function removeScript(
  link: Link,
  scripts: string,
  eventType: ScriptTrigger | number,
  options: RequestOptions,
): Promise<void> {
  await link.request('DELETE', pathOf(scripts, eventType), options);
}

/** All that are attached there. */
export async function listScripts(
  link: Link,
  scripts: string,
  options: RequestOptions,
): Promise<ScriptInfo[]> {
  return readList(await link.request('GET', scripts, options), 'scripts', readScriptInfo);
}
