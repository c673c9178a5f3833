import { once } from 'node:events';
import { type AddressInfo, type Socket, createServer } from 'node:net';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { makeCertificate } from '../../../../test/support/certificate.ts';
import { Endpoint, answering } from '../../../../test/support/endpoint.ts';
import { SystemClock } from '../clock.ts';
import { Lookups, type ResolveAll, isPublicAddress } from './webhook-address.ts';
import { type Outcome, WebhookSender } from './webhook-sender.ts';

const opened: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0)) await close();
});

async function endpointOf(...args: Parameters<typeof Endpoint.start>): Promise<Endpoint> {
  const endpoint = await Endpoint.start(...args);
  opened.push(() => endpoint.stop());
  return endpoint;
}

function senderOf(lookups = new Lookups(false)): WebhookSender {
  const sender = new WebhookSender(new SystemClock(), lookups);
  opened.push(() => sender.close());
  return sender;
}

/** For what is to come by itself: a busy machine takes its time. */
const patienceMs = 120_000;

const send = (url: string, timeoutMs = patienceMs, sender = senderOf()): Promise<Outcome> =>
  sender.send({ url, headers: {}, body: '{}', timeoutMs, signal: new AbortController().signal });

/** A server in a thread of its own: tells its port, then that it was asked; then that its answer has gone. */
const answeringUnseen = `
  const { parentPort, workerData } = require('node:worker_threads');
  const server = require('node:http').createServer((request, response) => {
    parentPort.postMessage('asked');
    response.end('', () => {
      Atomics.store(workerData, 0, 1);
      Atomics.notify(workerData, 0);
    });
  });
  server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
`;

describe('an attempt', () => {
  it.each([200, 201, 202, 204, 299])('is accepted with %i', async (status) => {
    const { url } = await endpointOf(answering(status));
    expect(await send(url)).toMatchObject({ accepted: true, status, error: null, gone: false });
  });

  it.each([400, 404, 410, 429, 500, 503])('fails with %i', async (status) => {
    const { url } = await endpointOf(answering(status, {}, 'why it is so'));
    const outcome = await send(url);
    expect(outcome).toMatchObject({ accepted: false, status, gone: status === 410, answer: 'why it is so' });
    expect(outcome.error).toContain(String(status));
  });

  it.each([301, 302, 303, 307, 308])('does not follow the redirect %i, and says so', async (status) => {
    const target = await endpointOf();
    const { url } = await endpointOf(answering(status, { location: target.url }));
    const { accepted, error } = await send(url);
    expect(accepted).toBe(false);
    expect(error).toContain(`a redirect to ${target.url}; redirects are not followed`);
    expect(target.received).toEqual([]);
  });

  it('fails at its deadline when the endpoint hangs', async () => {
    const { url } = await endpointOf(() => undefined);
    const { error, tookMs } = await send(url, 300);
    expect(error).toBe('no answer within 0.3 s');
    expect(tookMs).toBeLessThan(60_000);
  });

  it('takes an answer that arrived in time while this process stood still', async () => {
    const answered = new Int32Array(new SharedArrayBuffer(4));
    const server = new Worker(answeringUnseen, { eval: true, workerData: answered });
    opened.push(() => server.terminate());
    const [port] = (await once(server, 'message')) as [number];
    const due: (() => void)[] = [];
    const clock = Object.assign(new SystemClock(), {
      setTimer: (callback: () => void) => ({ cancel: () => undefined, at: due.push(callback) }),
    });
    const sender = new WebhookSender(clock, new Lookups(false));
    opened.push(() => sender.close());
    const sent = send(`http://127.0.0.1:${port}/`, 1_000, sender);
    await once(server, 'message');
    expect(Atomics.wait(answered, 0, 0, patienceMs)).not.toBe('timed-out');
    // Now it goes on: what came due is called before sockets are read.
    due[0]?.();
    expect(await sent).toMatchObject({ accepted: true, status: 200 });
  });

  it('fails at its deadline when the head trickles', async () => {
    const url = await rawServer((socket) => {
      socket.write('HTTP/1.1 200 OK\r\n');
      const timer = setInterval(() => socket.write('x: y\r\n'), 20);
      socket.on('close', () => clearInterval(timer));
    });
    expect(await send(url, 300)).toMatchObject({ accepted: false, error: 'no answer within 0.3 s' });
  });

  it('fails when the head has no end, and when informational answers have none', async () => {
    for (const text of [`x-${'y'.repeat(1_000)}: z\r\n`, '']) {
      const url = await rawServer((socket) => {
        const more = (): void => {
          while (socket.writable && socket.write(text === '' ? 'HTTP/1.1 102 Wait\r\n\r\n' : text)) {
            if (text === '') break;
          }
        };
        if (text !== '') socket.write('HTTP/1.1 200 OK\r\n');
        socket.on('drain', more);
        const timer = setInterval(more, 5);
        socket.on('close', () => clearInterval(timer));
      });
      const { accepted, tookMs } = await send(url, 300);
      expect(accepted).toBe(false);
      expect(tookMs).toBeLessThan(60_000);
    }
  });

  it('does not wait for a body that trickles, nor read one without end', async () => {
    const trickle = await endpointOf((_received, response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write('.'), 20);
      response.on('close', () => clearInterval(timer));
    });
    // It does not wait for it, or this test does not end.
    expect(await send(trickle.url)).toMatchObject({ accepted: true, status: 200 });
    let sent = 0;
    const flood = await endpointOf((_received, response) => {
      response.writeHead(200);
      const chunk = 'x'.repeat(16 * 1024);
      const more = (): void => {
        while (!response.destroyed && response.write(chunk)) sent += chunk.length;
      };
      response.on('drain', more);
      more();
    });
    const { accepted, answer } = await send(flood.url);
    expect([accepted, answer.length]).toEqual([true, 1_024]);
    expect(sent).toBeLessThan(64 * 1024 * 1024);
  });

  it('over TLS fails where the certificate is not trusted, and says so', async () => {
    const { certificate: cert, key } = makeCertificate();
    const endpoint = await endpointOf(answering(200), { key, cert });
    const { accepted, status, error } = await send(endpoint.url, patienceMs);
    expect([accepted, status]).toEqual([false, null]);
    expect(error).toContain('its certificate is not trusted');
    expect(error).toContain('DEPTH_ZERO_SELF_SIGNED_CERT');
    expect(endpoint.received).toEqual([]);
  });

  it('over TLS is accepted where the certificate is of an authority of its own, and of no other', async () => {
    const { certificate: cert, key } = makeCertificate();
    const endpoint = await endpointOf(answering(200), { key, cert });
    const own = new WebhookSender(new SystemClock(), new Lookups(false), cert);
    const other = new WebhookSender(new SystemClock(), new Lookups(false), makeCertificate().certificate);
    opened.push(
      () => own.close(),
      () => other.close(),
    );
    expect(await send(endpoint.url, patienceMs, own)).toMatchObject({ accepted: true, status: 200 });
    expect((await send(endpoint.url, patienceMs, other)).error).toContain('its certificate is not trusted');
    const resolve: ResolveAll = (_host, _family, done) => done(null, [{ address: '127.0.0.1', family: 4 }]);
    const named = new WebhookSender(new SystemClock(), new Lookups(false, resolve), cert);
    opened.push(() => named.close());
    const elsewhere = await send(`https://hooks.example.org:${endpoint.port}/`, patienceMs, named);
    expect(elsewhere.error).toContain('ERR_TLS_CERT_ALTNAME_INVALID');
    expect(endpoint.received.length).toBe(1);
  });

  it('that cannot be made at all fails, and says so', async () => {
    const broken = new WebhookSender(new SystemClock(), new Lookups(false), 'no certificate');
    opened.push(() => broken.close());
    const { accepted, error } = await send('https://127.0.0.1:1/', patienceMs, broken);
    expect([accepted, error?.length]).toEqual([false, expect.any(Number)]);
  });

  it('that is answered before it was read whole keeps no connection from those after it', async () => {
    const url = await rawServer((socket) => {
      socket.pause();
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
    });
    const sender = senderOf();
    const body = 'x'.repeat(32 * 1024 * 1024);
    for (let count = 0; count < 3; count += 1) {
      const signal = new AbortController().signal;
      const { accepted, error } = await sender.send({
        url,
        headers: {},
        body,
        timeoutMs: patienceMs,
        signal,
      });
      expect([accepted, error]).toEqual([true, null]);
    }
  });

  it('fails when nobody listens, the connection breaks, or what answers is no HTTP', async () => {
    const gone = await Endpoint.start();
    const { url } = gone;
    await gone.stop();
    expect((await send(url)).error).toContain('ECONNREFUSED');
    const broken = await rawServer((socket) => socket.destroy());
    expect((await send(broken)).accepted).toBe(false);
    const other = await rawServer((socket) => void socket.end('SSH-2.0-OpenSSH_9.2\r\n'));
    expect((await send(other)).accepted).toBe(false);
  });

  it('over a kept connection that the endpoint just closed is made again at once', async () => {
    const endpoint = await endpointOf();
    const sender = senderOf();
    expect((await send(endpoint.url, patienceMs, sender)).accepted).toBe(true);
    let broken = 0;
    endpoint.script = (received, response, request) => {
      if (broken === 0) {
        broken += 1;
        request.socket.resetAndDestroy();
      } else answering(204, {}, '')(received, response, request);
    };
    expect(await send(endpoint.url, patienceMs, sender)).toMatchObject({ accepted: true, status: 204 });
    expect([broken, endpoint.connections]).toEqual([1, 2]);
  });
});

describe('private targets', () => {
  it.each(['1.1.1.1', '8.8.8.8', '172.32.0.1', '100.128.0.1', '2606:4700:4700::1111', '2a00:1450::1'])(
    '%s is none',
    (address) => expect(isPublicAddress(address)).toBe(true),
  );

  it.each(
    [
      '0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.255.255.255 169.254.169.254 172.16.0.1 172.31.255.255',
      '192.168.1.1 198.18.0.1 224.0.0.1 255.255.255.255 :: ::1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1',
      '64:ff9b::a00:1 fc00::1 fd12:3456::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1 2001:db8::1 2002:a00:1::1 [::1] x',
    ].flatMap((line) => line.split(' ')),
  )('%s is one', (address) => expect(isPublicAddress(address)).toBe(false));

  it('are refused by the address that is connected to, whatever their name', async () => {
    const endpoint = await endpointOf();
    const asked: string[] = [];
    const resolve: ResolveAll = (host, _family, done) => {
      asked.push(host);
      done(null, [{ address: '127.0.0.1', family: 4 }]);
    };
    const url = `http://hooks.example.org:${endpoint.port}/`;
    const strict = senderOf(new Lookups(true, resolve));
    const error = '127.0.0.1 is a private address, and this server tells public ones only';
    expect(await send(url, patienceMs, strict)).toMatchObject({ accepted: false, error });
    for (const literal of ['127.0.0.1', '2130706433', '0x7f.1', '[::1]', '[::ffff:127.0.0.1]']) {
      const refused = await send(`http://${literal}:${endpoint.port}/`, patienceMs, strict);
      expect(refused.error, literal).toContain('is a private address');
    }
    expect(endpoint.connections).toBe(0);
    const open = senderOf(new Lookups(false, resolve));
    expect(await send(url, patienceMs, open)).toMatchObject({ accepted: true });
    expect(asked).toEqual(['hooks.example.org', 'hooks.example.org']);
  });

  it('are left out of a name that means public ones too', () => {
    const resolve: ResolveAll = (_host, _family, done) =>
      done(null, [
        { address: '10.0.0.1', family: 4 },
        { address: '8.8.8.8', family: 4 },
      ]);
    const found: unknown[] = [];
    new Lookups(true, resolve).lookup('x', { all: true }, (_error, addresses) => found.push(addresses));
    expect(found).toEqual([[{ address: '8.8.8.8', family: 4 }]]);
  });

  it('and all others are looked up two at a time: the threads are those that files are read with', () => {
    const running: (() => void)[] = [];
    const resolve: ResolveAll = (_host, _family, done) => void running.push(() => done(null, []));
    const lookups = new Lookups(false, resolve);
    for (let count = 0; count < 5; count += 1) lookups.lookup(`x${count}`, { all: true }, () => undefined);
    expect(running.length).toBe(2);
    running.shift()?.();
    expect(running.length).toBe(2);
  });
});

it('a name that is asked for by many is looked up once at a time, and stands in the way of no other', () => {
  const running: (() => void)[] = [];
  const asked: string[] = [];
  const resolve: ResolveAll = (host, _family, done) => {
    asked.push(host);
    running.push(() => done(null, [{ address: '8.8.8.8', family: 4 }]));
  };
  const lookups = new Lookups(false, resolve);
  let answers = 0;
  for (const host of ['stuck', 'stuck', 'stuck', 'works']) {
    lookups.lookup(host, { all: true }, () => {
      answers += 1;
    });
  }
  expect(asked).toEqual(['stuck', 'works']);
  running.shift()?.();
  expect(answers).toBe(3);
  lookups.lookup('stuck', { all: true }, () => undefined);
  expect(asked).toEqual(['stuck', 'works', 'stuck']);
});

async function rawServer(onConnection: (socket: Socket) => void): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => onConnection(socket));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  opened.push(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}
