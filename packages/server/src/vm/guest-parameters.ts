/**
 * Parameters of a guest, as small files that the guest can read: docs/adr/0012-guest-parameters.md. They live as long
 * as the guest's boot. Whoever may write as root in the guest can change them: what is read is the guest's word.
 */
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { guestBounds, VmError } from '@vmpulse/wire';
import { agentCommandTimeoutMs } from '../limits.ts';
import type { GuestAgentPort } from './ports.ts';

/** Where the guest finds them; the file's name is `parameterFile`. */
const parameterDirectory = '/run/vmpulse/parameters';
/** Nobody in the guest but root sees a file before it is whole. */
const incomingDirectory = '/run/vmpulse/incoming';
/** Longest name of a file, bytes (NAME_MAX). */
const maxFileName = 255;
/** What is kept of what a failing program says. */
const maxComplaintBytes = 256;

/** The last write of each agent. */
const writes = new WeakMap<GuestAgentPort, Promise<void>>();

/** The name of a parameter's file: percent-encoded but for letters, digits and `_ - .`, hashed where too long. */
export function parameterFile(name: string): string {
  let encoded = '';
  for (const byte of Buffer.from(name)) {
    const character = String.fromCharCode(byte);
    const plain = /[A-Za-z0-9_-]/.test(character) || (character === '.' && encoded !== '');
    encoded += plain ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  if (encoded.length <= maxFileName) return encoded;
  return `%sha256-${createHash('sha256').update(name).digest('hex')}`;
}

/**
 * The value of a parameter; null when it is not set.
 * Errors: VM_E_ADDITIONS_FEATURE_NOT_AVAIL, VM_E_ADDITIONS_NOT_AVAIL, VM_E_TIMED_OUT.
 */
export async function readParameter(agent: GuestAgentPort, name: string): Promise<string | null> {
  const content = await offered(() =>
    agent.readFile(`${parameterDirectory}/${parameterFile(name)}`, guestBounds.maxParameterBytes),
  );
  return content === null ? null : new TextDecoder().decode(content);
}

/** Sets parameters, all at once. Errors: those of readParameter. */
export async function writeParameters(
  agent: GuestAgentPort,
  parameters: ReadonlyMap<string, string>,
): Promise<void> {
  // One after the other: two that set the same parameter would meet in the directory of what is coming.
  const before = writes.get(agent) ?? Promise.resolve();
  const write = before.then(() => offered(() => writeFiles(agent, parameters)));
  const settled = write.catch(() => undefined);
  writes.set(agent, settled);
  await write;
}

async function writeFiles(agent: GuestAgentPort, parameters: ReadonlyMap<string, string>): Promise<void> {
  const files: string[] = [];
  for (const [name, value] of parameters) {
    const file = `${incomingDirectory}/${parameterFile(name)}`;
    await writeIncoming(agent, file, Buffer.from(value));
    files.push(file);
  }
  // The agent makes files that anyone may write.
  await run(agent, 'chmod', ['0644', ...files]);
  await run(agent, 'mv', ['-f', ...files, parameterDirectory]);
}

/**
 * Sets what every guest finds set, as in the original: HostName, PhysicalHostName, PhysicalHostNameFullyQualified,
 * VirtualMachineName. Never rejects: a guest that keeps no parameters is an ordinary guest.
 */
export async function introduceHost(agent: GuestAgentPort, machineName: string): Promise<void> {
  const host = hostname();
  const parameters = {
    HostName: host,
    PhysicalHostName: host.split('.', 1)[0] ?? host,
    PhysicalHostNameFullyQualified: host,
    VirtualMachineName: machineName,
  };
  try {
    await writeParameters(agent, new Map(Object.entries(parameters)));
  } catch {
    // Who asks for a parameter is told why there is none.
  }
}

/** Writes a file where nobody but root reaches it, after making the directories where they are not there yet. */
async function writeIncoming(agent: GuestAgentPort, path: string, content: Uint8Array): Promise<void> {
  try {
    return await agent.writeFile(path, content);
  } catch (error) {
    if (VmError.from(error).code !== 'E_FAIL') throw error;
  }
  await run(agent, 'mkdir', ['-p', '-m', '0755', '/run/vmpulse', parameterDirectory]);
  await run(agent, 'mkdir', ['-p', '-m', '0700', incomingDirectory]);
  await agent.writeFile(path, content);
}

async function run(agent: GuestAgentPort, program: string, args: readonly string[]): Promise<void> {
  const options = { timeoutMs: agentCommandTimeoutMs, maxOutputBytes: maxComplaintBytes };
  const { exitCode, stderr } = await agent.execute(program, args, options);
  if (exitCode === 0) return;
  const complaint = new TextDecoder().decode(stderr).replaceAll(/\p{C}/gu, ' ').trim();
  throw new VmError('E_FAIL', `${program} in the guest failed: ${complaint}`);
}

/** A guest that cannot keep files under /run has no parameters; the original has one code for that. */
async function offered<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    const error = VmError.from(thrown);
    if (error.code !== 'E_FAIL' && error.code !== 'E_FILE_NOT_FOUND' && error.code !== 'E_BUFFER_OVERFLOW')
      throw error;
    const detail = `The guest keeps no parameters under ${parameterDirectory}: ${error.message}`;
    throw new VmError('VM_E_ADDITIONS_FEATURE_NOT_AVAIL', detail, { cause: thrown });
  }
}
