import { describe, expect, it } from 'vitest';
import { type Target, chooseTarget, defaultDataDirectory } from './connection.ts';

describe('the default data directory', () => {
  it.each([
    [0, { HOME: '/root', XDG_DATA_HOME: '/x' }, '/var/lib/vmpulse'],
    [1000, { HOME: '/h' }, '/h/.local/share/vmpulse'],
    [1000, { HOME: '/h', XDG_DATA_HOME: '/x' }, '/x/vmpulse'],
    [1000, { HOME: '/h', XDG_DATA_HOME: 'relative' }, '/h/.local/share/vmpulse'],
  ])('of user %i with %j is %s', (uid, env, directory) => {
    expect(defaultDataDirectory(env, uid)).toBe(directory);
  });
});

describe('what is connected to', () => {
  const home = { HOME: '/h' };
  const own = '/h/.local/share/vmpulse';
  it.each<[object, object, Partial<Target>]>([
    [{}, {}, { kind: 'data', directory: own }],
    [{ data: 'd' }, {}, { kind: 'data', directory: '/here/d' }],
    [{}, { VMPULSE_DATA: '/d' }, { kind: 'data', directory: '/d' }],
    [
      { data: '/flag' },
      { VMPULSE_DATA: '/d', VMPULSE_URL: 'http://x' },
      { kind: 'data', directory: '/flag' },
    ],
    [{}, { VMPULSE_URL: 'http://x' }, { kind: 'url', url: 'http://x', tokenFile: `${own}/token` }],
    [{ url: 'http://y' }, { VMPULSE_URL: 'http://x', VMPULSE_TOKEN: 't' }, { url: 'http://y', token: 't' }],
    [{ url: 'http://y', token: 'f' }, { VMPULSE_TOKEN: 't' }, { token: 'f' }],
    [{ url: 'http://y', tokenFile: 'f' }, { VMPULSE_TOKEN: 't' }, { token: undefined, tokenFile: '/here/f' }],
    [{ url: 'http://y', data: '/d' }, {}, { kind: 'url', tokenFile: '/d/token' }],
    [{}, { VMPULSE_TOKEN: 't' }, { kind: 'url', url: 'http://127.0.0.1:7410', token: 't' }],
    [{}, { VMPULSE_DATA: '/d', VMPULSE_TOKEN: 't' }, { kind: 'data', directory: '/d', token: 't' }],
    [{}, { VMPULSE_DATA: '', VMPULSE_URL: '' }, { kind: 'data', directory: own }],
  ])('with flags %j and environment %j is %j', (flags, env, target) => {
    expect(chooseTarget(flags, { ...home, ...env }, '/here', 1000)).toMatchObject(target);
  });
});
