import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { type Server, connect, createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type HttpFixture, ask, startHttp, testToken } from '../../../../test/support/http-fixture.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { isLoopback } from './listener.ts';
import { makeCertificate } from '../../../../test/support/certificate.ts';

/** A certificate of localhost that signed itself, for this test alone. */
const { certificate, key } = makeCertificate();

async function listening(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve) => {
    server.listen(path, resolve);
  });
}

it('stops at once, though a client keeps a connection on which it has asked nothing yet', async () => {
  // No time passes: what waits for a deadline of the stop waits for ever.
  const http = await startHttp({ clock: new SimulatedClock() });
  const spare = connect(http.port, '127.0.0.1');
  await once(spare, 'connect');
  const ended = once(spare.resume(), 'close');
  expect((await ask(http, 'GET', '/v1/server')).status).toBe(200);
  await http.server.close();
  await ended;
});

describe('listening', () => {
  let directory: string;
  let socketPath: string;
  const open: HttpFixture[] = [];
  const start = async (listen: Parameters<HttpFixture['server']['listen']>[0]): Promise<HttpFixture> => {
    const http = await startHttp({ listen });
    open.push(http);
    return http;
  };

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'vmpulse-listen-'));
    socketPath = join(directory, 'vmpulse.sock');
  });

  afterEach(async () => {
    await Promise.all(open.splice(0).map(async ({ server }) => server.close()));
    await rm(directory, { recursive: true });
  });

  it('tells where', async () => {
    const http = await start({ port: 0, socketPath });
    expect(http.server.address).toEqual({
      url: `http://127.0.0.1:${http.port}`,
      host: '127.0.0.1',
      port: http.port,
      socketPath,
    });
  });

  it('names a port that is taken and how to find who holds it', async () => {
    const { port } = await start({ port: 0 });
    const second = start({ port, socketPath });
    await expect(second).rejects.toMatchObject({ code: 'VMPULSE_E_LISTEN' });
    await expect(second).rejects.toThrow(
      `Port ${port} on 127.0.0.1 is taken. See who holds it with: ss -ltnp`,
    );
    await expect(stat(socketPath)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('listens on all or on nothing', async () => {
    const { server, port } = await start({ port: 0 });
    await server.close();
    await writeFile(socketPath, 'in the way');
    await expect(start({ port, socketPath })).rejects.toThrow('in the way');
    await expect(ask({ port }, 'GET', '/healthz')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it.each(['0.0.0.0', '::', '192.0.2.1', 'example.com'])('refuses %s without TLS', async (host) => {
    const refused = start({ port: 0, host });
    await expect(refused).rejects.toMatchObject({ code: 'VMPULSE_E_LISTEN' });
    await expect(refused).rejects.toThrow('--tls-cert');
  });

  it('says what is wrong with an address that is not of this host', async () => {
    const tls = { certFile: join(directory, 'cert.pem'), keyFile: join(directory, 'key.pem') };
    await expect(start({ port: 0, host: '0.0.0.0', tls })).rejects.toThrow(
      'cert.pem cannot be read (ENOENT)',
    );
    await writeFile(tls.certFile, certificate);
    await writeFile(tls.keyFile, 'no key');
    await expect(start({ port: 0, host: '0.0.0.0', tls })).rejects.toThrow('no certificate with its key');
    await writeFile(tls.keyFile, key);
    await expect(start({ port: 0, host: '192.0.2.1', tls })).rejects.toThrow(
      '192.0.2.1 is no address of this host',
    );
    await expect(start({})).rejects.toThrow('nothing to listen on');
  });

  it('knows what is loopback', () => {
    expect(['127.0.0.1', '127.9.9.9', '::1', 'LOCALHOST'].map(isLoopback)).toEqual([true, true, true, true]);
    const others = ['0.0.0.0', '::', '127.evil.example', '10.0.0.1', 'localhost.example', ''];
    expect(others.map(isLoopback)).toEqual(others.map(() => false));
  });

  it('serves TLS everywhere, with the token and under any name', async () => {
    const tls = { certFile: join(directory, 'cert.pem'), keyFile: join(directory, 'key.pem') };
    await writeFile(tls.certFile, certificate);
    await writeFile(tls.keyFile, key);
    const http = await start({ port: 0, host: '0.0.0.0', tls });
    const statuses: (number | undefined)[] = [];
    for (const token of [testToken, 'wrong']) {
      const headers = { authorization: `Bearer ${token}`, host: 'vm-host.example' };
      const options = {
        host: '127.0.0.1',
        port: http.port,
        path: '/v1/vms',
        ca: certificate,
        headers,
        agent: false as const,
      };
      statuses.push(
        await new Promise((resolve, reject) => {
          const outgoing = request({ ...options, servername: 'localhost' }, (response) => {
            response.resume();
            resolve(response.statusCode);
          });
          outgoing.on('error', reject);
          outgoing.end();
        }),
      );
    }
    expect(statuses).toEqual([200, 401]);
    await expect(ask(http, 'GET', '/healthz')).rejects.toThrow();
  });

  describe('on the Unix socket', () => {
    it('lets its owner in alone, and leaves the umask as it was', async () => {
      const mask = process.umask(0);
      await start({ socketPath }).finally(() => expect(process.umask(mask)).toBe(0));
      expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
      expect((await ask({ socketPath }, 'GET', '/v1/server')).status).toBe(200);
    });

    it('takes the place of a dead server, never of one that lives', async () => {
      const first = await start({ socketPath });
      const second = start({ socketPath });
      await expect(second).rejects.toMatchObject({ code: 'VMPULSE_E_LISTEN' });
      await expect(second).rejects.toThrow(`Another server answers on ${socketPath}`);
      expect((await ask({ socketPath }, 'GET', '/healthz')).status).toBe(200);
      await first.server.close();
      await expect(stat(socketPath)).rejects.toMatchObject({ code: 'ENOENT' });

      // A socket file nobody listens on: bound under another name, then left behind.
      const dead = createServer();
      await listening(dead, `${socketPath}.other`);
      const { linkSync } = await import('node:fs');
      linkSync(`${socketPath}.other`, socketPath);
      await new Promise((resolve) => {
        dead.close(resolve);
      });
      expect((await stat(socketPath)).isSocket()).toBe(true);
      await start({ socketPath });
      expect((await ask({ socketPath }, 'GET', '/healthz')).status).toBe(200);
    });

    it('leaves alone what is no socket', async () => {
      await writeFile(socketPath, 'precious');
      await expect(start({ socketPath })).rejects.toThrow('is in the way');
      expect((await stat(socketPath)).size).toBe(8);
    });

    it('says when its path is too long, or its directory missing', async () => {
      await expect(start({ socketPath: join(directory, 'x'.repeat(120)) })).rejects.toThrow('a shorter path');
      await expect(start({ socketPath: join(directory, 'none', 's') })).rejects.toThrow(
        'see that its directory exists',
      );
    });
  });
});
