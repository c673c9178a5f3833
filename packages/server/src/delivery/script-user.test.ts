import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { findScriptUser } from './script-user.ts';

const id = (flag: string): number => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }));

test('the user of scripts is found by its name, with the group it has', async () => {
  expect(await findScriptUser('nobody', 0)).toEqual({ uid: id('-u'), gid: id('-g') });
  expect(await findScriptUser('nobody', id('-u'))).toEqual({ uid: id('-u'), gid: id('-g') });
});

test('one that is not there, or that the service may not become, is an error that says what to do', async () => {
  for (const name of ['no-such-user-here', '', '-n', 'a b', '0;id']) {
    await expect(findScriptUser(name, 0)).rejects.toMatchObject({
      code: 'E_INVALIDARG',
      field: '--script-user',
    });
  }
  await expect(findScriptUser('nobody', id('-u') + 1)).rejects.toMatchObject({ code: 'E_ACCESSDENIED' });
});
