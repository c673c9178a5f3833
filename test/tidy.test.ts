/** Keeps the project's shape. When a rule is in the way, change the design first, then the tables here. */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import * as file from './tidy/file.ts';
import type { Rule, Source } from './tidy/source.ts';
import { importsOf, readProject, view } from './tidy/source.ts';
import type { Shape } from './tidy/structure.ts';
import * as structure from './tidy/structure.ts';
import * as text from './tidy/text.ts';

/** What a package may import besides its own files; the server is free. Each ends with `/`, subpaths included. */
const PACKAGE_IMPORTS = { wire: [], client: ['@vmpulse/wire/', 'eventsource-parser/', 'node:'] };

const SHAPE: Shape = {
  server: 'packages/server/src/',
  // From the ground up. Floors that the design names together are split where one is used by another.
  floors: [
    ['limits'],
    ['clock', 'process-priority', 'socket-path'],
    ['tick', 'hypervisor'],
    ['machine-record'],
    ['event'],
    ['monitor', 'delivery'],
    ['vm'],
    ['recovery', 'store', 'http'],
    ['main'],
    ['cli'],
  ],
  adapters: [
    'tick/virtio-serial',
    'tick/guest-agent',
    'hypervisor/qemu/',
    'hypervisor/libvirt/',
    'hypervisor/fake',
    'delivery/script',
    'delivery/webhook',
    'store/',
  ],
  compositionRoot: 'main.ts',
  cli: { unit: 'cli', imports: ['clock.ts'], exempt: ['serve.ts', 'demo.ts'] },
  entries: [
    'packages/wire/src/index.ts',
    'packages/client/src/index.ts',
    'packages/client/src/node.ts',
    'packages/server/src/cli/main.ts',
  ],
  forTests: ['packages/server/src/hypervisor/fake'],
};

interface TidyRule {
  readonly name: string;
  readonly rule: Rule;
  /** Files that break the rule, each on its own. */
  readonly bad: readonly (readonly Source[])[];
  /** Files that look like it and do not. */
  readonly good: readonly Source[];
}

const at = (path: string, content: string): Source => ({ path, text: content });
const server = (path: string, content: string): Source => at(`packages/server/src/${path}`, content);
const from = (specifier: string): string => `import { x } from '${specifier}';\n`;
const each = (path: string, ...contents: string[]): Source[][] =>
  contents.map((content) => [at(path, content)]);

// What must not be found in this file itself is written with a `+` inside.
const joined = (...texts: string[]): string[] => texts.map((one) => one.replace('+', ''));

const RULES: TidyRule[] = [
  {
    name: 'packages import only what they may',
    rule: structure.packageDirection(PACKAGE_IMPORTS),
    bad: [
      ...each('packages/wire/src/a.ts', from('node:fs'), from('zod'), from('../../client/src/index.ts')),
      ...each(
        'packages/client/src/a.ts',
        from('fastify'),
        "export * from 'vmpulse';",
        "const a = import('zod');",
      ),
      ...each('packages/wire/package.json', '{"dependencies":{"zod":"4"}}'),
    ],
    good: [
      at(
        'packages/client/src/a.ts',
        from('@vmpulse/wire') + from('./b.ts') + from('eventsource-parser/stream'),
      ),
      at('packages/wire/src/a.ts', "// import { x } from 'zod'\nconst s = `\nimport { x } from 'zod';`;"),
    ],
  },
  {
    name: 'the server imports floor on floor',
    rule: structure.floorDirection(SHAPE),
    bad: [
      [server('clock.ts', from('./tick/source.ts'))],
      [server('event/log.ts', `import type {\n  A,\n  B,\n} from '../monitor/monitor.ts';`)],
      [server('monitor/monitor.ts', from('../delivery/sink.ts'))],
      [server('http/server.ts', from('../main.ts'))],
      [server('attic/thing.ts', '')],
    ],
    good: [
      server('monitor/a.ts', from('../clock.ts') + from('../event/log.ts') + from('./b.ts')),
      server('monitor/a.test.ts', from('../main.ts')),
    ],
  },
  {
    name: 'adapters import ports, never each other, and only the composition root imports them',
    rule: structure.adapterIsolation(SHAPE),
    bad: [
      [server('hypervisor/qemu/process.ts', from('../libvirt/rpc.ts'))],
      [server('vm/service.ts', from('../hypervisor/qemu/process.ts'))],
      [server('http/server.ts', from('../store/database.ts'))],
    ],
    good: [
      server('main.ts', from('./hypervisor/qemu/process.ts') + from('./store/database.ts')),
      server('hypervisor/qemu/process.ts', from('../hypervisor.ts') + from('./qmp.ts')),
    ],
  },
  {
    name: 'the command line uses the client',
    rule: structure.cliIsClient(SHAPE),
    bad: [[server('cli/status.ts', from('../vm/service.ts'))], [server('cli/main.ts', from('../main.ts'))]],
    good: [
      server('cli/serve.ts', from('../main.ts')),
      server('cli/status.ts', from('@vmpulse/client') + from('./table.ts')),
    ],
  },
  {
    name: 'browsers can load the client',
    rule: structure.browserSafe('packages/client/src/index.ts'),
    bad: [
      [
        at('packages/client/src/index.ts', "export * from './a.ts';"),
        at('packages/client/src/a.ts', from('node:net')),
      ],
    ],
    good: [at('packages/client/src/index.ts', ''), at('packages/client/src/node.ts', from('node:net'))],
  },
  {
    name: 'no file is dead',
    rule: structure.noDeadFile(SHAPE),
    bad: [
      [server('cli/main.ts', ''), server('vm/forgotten.ts', '')],
      [
        server('cli/main.ts', ''),
        server('vm/tested.ts', ''),
        server('vm/tested.test.ts', from('./tested.ts')),
      ],
      [server('hypervisor/fake.ts', '')],
    ],
    good: [
      server('cli/main.ts', "const go = import('../main.ts');"),
      server('main.ts', "new URL(import.meta.url.endsWith('.ts') ? './w.ts' : './w.js', import.meta.url)"),
      server('w.ts', ''),
      server('hypervisor/fake.ts', ''),
      server('vm/a.test.ts', from('../hypervisor/fake.ts')),
    ],
  },
  {
    name: 'only the clock tells the time',
    rule: text.oneClock('packages/server/src/clock.ts'),
    bad: each(
      'packages/server/src/vm/a.ts',
      'const t = Date.now();',
      'setTimeout(f, 1);',
      'const later = globalThis.setInterval;',
      'performance.now()',
      'new Date( )',
      'process.hrtime.bigint()',
      "import { setTimeout as sleep } from 'node:timers/promises';",
      'const s = `${Date.now()}`;',
    ),
    good: [
      server('clock.ts', 'Date.now()'),
      server('vm/a.test.ts', 'Date.now()'),
      server('vm/a.ts', "// Date.now()\nnew Date(ms); socket.setTimeout(5); log('setTimeout');"),
    ],
  },
  {
    name: 'nothing blocks the service',
    rule: text.noBlockingCall,
    bad: each(
      'packages/server/src/vm/a.ts',
      "execSync('ls')",
      "spawnSync('ls')",
      "import { execFileSync } from 'x';",
    ),
    good: [server('vm/a.ts', '// execSync'), server('vm/a.test.ts', 'execSync()')],
  },
  {
    name: 'only the command line writes to the terminal',
    rule: text.noConsole,
    bad: each('packages/server/src/vm/a.ts', "console.log('x')", 'console.error(e)'),
    good: [server('cli/a.ts', "console.log('x')"), server('vm/a.ts', "const a = 'console.log';")],
  },
  {
    name: 'every type has a name',
    rule: text.noAny,
    bad: each(
      'test/a.ts',
      'const a: any = 1;',
      'b as any',
      'type C = Array<any>;',
      'let d: any[];',
      'f(x: A | any)',
    ),
    good: [at('test/a.ts', "// any\nconst x = 'as any'; Promise.any(y); const z = { any: 1 };")],
  },
  {
    name: 'a check is switched off only with a reason',
    rule: text.reasonForSilence,
    bad: each('scripts/a.mjs', '// @ts-ignore', '/* eslint-disable */', '// oxlint-disable-next-line no-x'),
    good: [
      at('scripts/a.mjs', "// oxlint-disable-next-line no-x -- the tool's own name\nconst a = '@ts-ignore';"),
    ],
  },
  {
    name: 'no test hides the others',
    rule: text.noFocusedTest,
    bad: each('test/a.test.ts', "it.only('x')", "describe.only('x')", "it.concurrent.only('x')"),
    good: [at('test/a.test.ts', "it('only', () => a.only());")],
  },
  {
    name: 'exports have names',
    rule: text.noDefaultExport(['vitest.config.ts']),
    bad: each('packages/wire/src/a.ts', 'export default 1;', 'export { a as default };'),
    good: [at('vitest.config.ts', 'export default 1;'), at('scripts/a.mjs', '// export default')],
  },
  {
    name: 'nothing is marked as unfinished',
    rule: text.noUnfinishedMark,
    bad: each('README.md', ...joined('TO+DO: write', 'FIX+ME', 'see X+XX')),
    good: [at('images/a.sh', 'mktemp /x/a.XXXXXX')],
  },
  {
    name: 'no path belongs to one machine',
    rule: text.noMachinePath,
    bad: each('scripts/a.mjs', ...joined("'/+home/jo/x'", "'/+work/main'", "'/+tmp/x.sock'")),
    good: [at('README.md', 'ls /var/lib/vmpulse; curl http://x/home/a; cat docs/work/a')],
  },
  {
    name: 'every export is documented',
    rule: text.documentedExports,
    bad: each(
      'packages/wire/src/a.ts',
      'export const a: number = 1;',
      '/* no doc */\nexport interface B {}',
      '/** First. */\nexport type C = 1;\nexport async function d(): Promise<void> {}',
    ),
    good: [
      at(
        'packages/wire/src/a.ts',
        "/**\n * Says.\n */\nexport function a(): void {}\nexport * from './b.ts';",
      ),
    ],
  },
  {
    name: 'files have names that say what is inside',
    rule: file.fileNames,
    bad: [
      ...each('packages/wire/src/utils.ts', ''),
      ...each('test/MyFile.ts', ''),
      ...each('scripts/common/a.mjs', ''),
    ],
    good: [
      at('packages/server/src/tick/virtio-serial.test.ts', ''),
      at('README.md', ''),
      at('images/.gitignore', ''),
    ],
  },
  {
    name: 'files and lines are short enough to read',
    rule: file.sizes({ lines: 400, columns: 120 }),
    bad: [
      ...each('test/a.ts', '\n'.repeat(401), 'x'.repeat(121)),
      ...each('guest/ticker', `#!/bin/sh\n${'x'.repeat(121)}`),
    ],
    good: [at('test/a.ts', `${'é'.repeat(120)}\n`.repeat(400)), at('README.md', 'x'.repeat(500))],
  },
  {
    name: 'only what people write is committed',
    rule: file.onlySources(500_000),
    bad: [
      ...each('packages/wire/dist/a.js', ''),
      ...each('a.dat', 'a\0b'),
      ...each('big.json', 'x'.repeat(500_001)),
    ],
    good: [at('docs/page.png', '\uFFFD\0')],
  },
  {
    name: 'there is one version',
    rule: file.oneVersion,
    bad: [
      [
        at('package.json', '{"name":"r","version":"1"}'),
        at('packages/a/package.json', '{"name":"a","version":"2"}'),
      ],
      [
        at('package.json', '{"name":"r","version":"1"}'),
        at('packages/a/package.json', '{"name":"a","version":"1","dependencies":{"r":"^1"}}'),
      ],
      each('package-lock.json', '"resolved": "https://example.org/a.tgz"').flat(),
    ],
    good: [at('package-lock.json', '"resolved": "packages/wire"')],
  },
];

const project = readProject(fileURLToPath(new URL('..', import.meta.url)));

describe('the project', () => {
  it('is what the rules look at', () => {
    expect(project.map((source) => source.path)).toContain('test/tidy.test.ts');
    expect(project.length).toBeGreaterThan(20);
  });

  it.each(RULES)('$name', ({ rule }) => {
    expect(rule(project).map(({ path, line, message }) => `${path}:${line} ${message}`)).toEqual([]);
  });
});

describe('the rules', () => {
  it.each(RULES)('find a planted violation: $name', ({ rule, bad }) => {
    for (const sources of bad) expect(rule(sources), JSON.stringify(sources)).not.toEqual([]);
  });

  it.each(RULES)('leave alone what only looks like one: $name', ({ rule, good }) => {
    expect(rule(good)).toEqual([]);
  });

  it('tell code from strings, templates, regular expressions and comments', () => {
    const { code, comments } = view(
      "a('//b'); // c\nx = `d${e({ f: `g` })}h`; y = /[/'\"]/.test(z) / 2; /* i */ j",
    );
    expect(code.replace(/\s+/g, ' ')).toBe("a(' '); x = ` {e({ f: ` ` })} `; y = / /.test(z) / 2; j");
    expect(comments.replace(/\s+/g, ' ')).toBe(' // c /* i */ ');
  });

  it('see every form of import', () => {
    const forms = [
      "import 'a';",
      "import type { B } from 'b';",
      "export * from 'c';",
      "const d = await import('d');",
      "import {\n  e,\n} from 'e';",
    ];
    const found = importsOf({ path: 'a.ts', text: forms.join('\n') }).map((one) => one.specifier);
    expect(found.toSorted()).toEqual(['a', 'b', 'c', 'd', 'e']);
  });
});
