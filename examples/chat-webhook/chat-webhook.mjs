// Posts an event to a chat's incoming webhook (Slack, Mattermost, Rocket.Chat: JSON with a `text`), as a script on
// events. It needs nothing but the Node that runs vmpulse.
//
//   install -m 0600 /dev/stdin /etc/vmpulse-chat.url   # paste the webhook's URL, Ctrl-D; chown it to --script-user
//   vmpulse script attach heartbeatStopped -- /opt/vmpulse/node_modules/.bin/node \
//     /opt/vmpulse/examples/chat-webhook/chat-webhook.mjs /etc/vmpulse-chat.url && vmpulse script enable
//
// An argument after the file is the seconds it tries for (45; the script's own time limit is 60). It ends with 0 when
// the chat took the message, 1 when it did not, 64 for wrong use and 78 for a bad file; that and what it writes are
// in scriptEnded. The URL is a secret: it is in no argument, is not shown, and its file may not be open to everyone.
import { open } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';

const attemptMs = 10_000;

/** Ends the script. @param {number} status @param {string} why @returns {never} */
function fail(status, why) {
  console.error(why);
  process.exit(status);
}

/** The URL, of a file that is nobody else's business. @param {string} file */
async function readUrl(file) {
  try {
    await using handle = await open(file);
    if (((await handle.stat()).mode & 0o007) !== 0) fail(78, `${file} is open to everyone: chmod 0600 it`);
    const url = new URL((await handle.readFile('utf8')).trim());
    if (url.protocol === 'https:' || url.protocol === 'http:') return url;
  } catch (error) {
    // The message of a bad URL may quote it.
    const { code = 'ERR' } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code !== 'ERR_INVALID_URL') fail(78, `${file} cannot be read: ${code}`);
  }
  return fail(78, `${file} holds no http:// or https:// URL`);
}

/**
 * Foreign text as text of one line: no markup, no mention of anybody, no change of direction.
 * @param {unknown} value
 */
function plain(value) {
  return Array.from(String(value))
    .slice(0, 500)
    .join('')
    .replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
    .replaceAll(/[\u202a-\u202e\u2066-\u2069]/gu, '')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll(/@(?=\w)/gu, '@\u200b');
}

/** One line for people. @param {{type: string, seq: number, time: string, data: Record<string, any>}} event */
function sentence({ type, seq, time, data }) {
  const name = data['vm'] === undefined ? 'vmpulse' : plain(data['vm'].name);
  /** @type {Record<string, () => string>} */
  const sentences = {
    heartbeatStopped: () => `:rotating_light: ${name} has stopped running (${plain(data['verdict'])})`,
    heartbeatResumed: () =>
      `:white_check_mark: ${name} runs again, after ${Math.round(data['outageMs'] / 1000)} s`,
    visibilityLost: () => `:warning: ${name} cannot be judged: ${plain(data['reason'])}`,
    recoveryGaveUp: () => `:rotating_light: ${name} does not come back: recovery gave up, act now`,
  };
  const kind = type.replace('io.vmpulse.', '');
  const told = Object.hasOwn(sentences, kind) ? sentences[kind]?.() : undefined;
  return `${told ?? `${name}: ${plain(kind)}`} [event ${seq}, ${plain(time)}]`;
}

/**
 * Why the chat did not take it, and whether to try again; undefined: it did.
 * @param {URL} url @param {string} body @param {number} withinMs
 */
async function post(url, body, withinMs) {
  try {
    const headers = { 'content-type': 'application/json' };
    const signal = AbortSignal.timeout(Math.ceil(withinMs));
    const answer = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal });
    const said = (await answer.text()).slice(0, 200);
    if (answer.ok) return undefined;
    const again = answer.status >= 500 || answer.status === 429 || answer.status === 408;
    return { why: `the chat answered ${answer.status}: ${plain(said)}`, again };
  } catch (error) {
    const { cause, name } = /** @type {{cause?: {code?: string}, name: string}} */ (error);
    return { why: `the chat could not be reached: ${cause?.code ?? name}`, again: true };
  }
}

const [file, seconds = '45'] = process.argv.slice(2);
if (file === undefined || !(Number(seconds) > 0)) fail(64, 'usage: chat-webhook.mjs URL-FILE [SECONDS]');
const url = await readUrl(file);
const text = sentence(JSON.parse(await readAll(process.stdin)));
const endMs = performance.now() + Number(seconds) * 1_000;
for (let pauseMs = 500; ; pauseMs *= 2) {
  const leftMs = endMs - performance.now();
  const failure = await post(url, JSON.stringify({ text }), Math.max(1, Math.min(attemptMs, leftMs)));
  if (failure === undefined) break;
  console.error(failure.why);
  if (!failure.again || performance.now() + pauseMs >= endMs) process.exit(1);
  await pause(pauseMs);
}
