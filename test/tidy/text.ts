/** Rules about what is written in a file. */
import type { Rule, Source, Violation } from './source.ts';
import { isScript, isTest, lineAt, matches, view } from './source.ts';

const overScripts =
  (applies: (path: string) => boolean, rule: (source: Source) => Violation[]): Rule =>
  (sources) =>
    sources.filter(({ path }) => isScript(path) && applies(path)).flatMap(rule);

const inServer = (path: string): boolean => path.startsWith('packages/server/src/') && !isTest(path);
const inProduct = (path: string): boolean => /^packages\/[^/]+\/src\//.test(path) && !isTest(path);
const isTypeScript = (path: string): boolean => /\.tsx?$/.test(path);

const CLOCKS = new RegExp(
  [
    String.raw`\b(?:Date|performance)\.now\b`,
    String.raw`\bprocess\.hrtime\b`,
    String.raw`\bnew Date\(\s*\)`,
    String.raw`\bAbortSignal\.timeout\b`,
    String.raw`(?<![.\w])(?:globalThis\.)?set(?:Timeout|Interval)\b`,
  ].join('|'),
  'g',
);
const TIMER_MODULES = /['"](?:node:)?timers(?:\/promises)?['"]/g;

/** Time comes from the clock port alone, or simulated time would not be all the time there is. */
export function oneClock(clock: string): Rule {
  return overScripts(
    (path) => inServer(path) && path !== clock,
    (source) => {
      const { code, statements } = view(source.text);
      return [
        ...matches(source, code, CLOCKS, 'take a Clock'),
        ...matches(source, statements, TIMER_MODULES, 'take a Clock'),
      ];
    },
  );
}

/** Nothing in the service stops its one thread to wait for a program. */
export const noBlockingCall: Rule = overScripts(inServer, (source) =>
  matches(source, view(source.text).code, /\b(?:exec|execFile|spawn)Sync\b/g, 'blocks every machine'),
);

/** The service writes to its log; only the command line writes to the terminal. */
export const noConsole: Rule = overScripts(
  (path) => inServer(path) && !path.startsWith('packages/server/src/cli/'),
  (source) => matches(source, view(source.text).code, /\bconsole\s*\.\s*\w+/g, 'use the log'),
);

/** The type that switches checking off. */
export const noAny: Rule = overScripts(isTypeScript, (source) =>
  matches(
    source,
    view(source.text).code,
    /(?:[:|&<,(=]|\bas|\bextends|\bkeyof)\s*any\b(?!\s*[:(.])/g,
    'name the type',
  ),
);

const SILENCERS = new RegExp(
  [
    String.raw`@ts-(?:ignore|nocheck)\b`,
    String.raw`@ts-expect-error\b(?!\s*\S)`,
    String.raw`\b(?:eslint|oxlint)-disable(?:-[a-z]+)*(?![^\n]*\s--\s+\S)[^\n]*`,
  ].join('|'),
  'g',
);

/** A check is switched off only where a reason is given (`-- why`), and the compiler's never. */
export const reasonForSilence: Rule = overScripts(
  () => true,
  (source) => matches(source, view(source.text).comments, SILENCERS, 'says no reason'),
);

/** A test that runs alone hides all others. */
export const noFocusedTest: Rule = overScripts(isTest, (source) =>
  matches(
    source,
    view(source.text).code,
    /\b(?:it|test|describe|suite)\s*\.\s*(?:\w+\s*\.\s*)?only\b/g,
    'hides the others',
  ),
);

/** Named exports only; a tool's configuration file may have no choice. */
export function noDefaultExport(exempt: readonly string[]): Rule {
  return overScripts(
    (path) => !exempt.includes(path),
    (source) =>
      matches(source, view(source.text).code, /\bexport\s+default\b|\bas\s+default\b/g, 'name the export'),
  );
}

const UNFINISHED = new RegExp(
  `\\b(?:${'TO-DO FIX-ME X-XX'.replaceAll('-', '').replaceAll(' ', '|')})\\b`,
  'g',
);

/** What is not finished is an issue, not a remark. */
export const noUnfinishedMark: Rule = (sources) =>
  sources.flatMap((source) => matches(source, source.text, UNFINISHED, 'finish it or open an issue'));

const MACHINE_PATHS = /(?<![\w$}.~/-])\/(?:home|Users|work|workspace|builds)\/[\w.-]+/g;
const TEMPORARY_PATHS = /['"`]\/tmp\/[^'"`\n]*/g;

/** No path of somebody's machine, and no fixed name in a folder that everybody can write to. */
export const noMachinePath: Rule = (sources) =>
  sources.flatMap((source) => [
    ...matches(source, source.text, MACHINE_PATHS, 'is a path of one machine'),
    ...(isScript(source.path)
      ? matches(source, source.text, TEMPORARY_PATHS, 'use a folder made by mkdtemp')
      : []),
  ]);

const DECLARATION =
  /^export (?:declare )?(?:abstract )?(?:async )?(?:function\*?|class|interface|type|const|let) +([A-Za-z_$][\w$]*)/gm;

/** Every exported declaration says in a doc comment what it is. Overloads share one. */
export const documentedExports: Rule = overScripts(inProduct, (source) => {
  const { code, comments } = view(source.text);
  const documented = new Set<string>();
  return [...code.matchAll(DECLARATION)].flatMap((match) => {
    const name = match[1] ?? '';
    const before = source.text.slice(0, match.index).trimEnd();
    const comment = comments.slice(0, before.length);
    const isDocumented = before.endsWith('*/') && comment.slice(comment.lastIndexOf('/*')).startsWith('/**');
    if (isDocumented) documented.add(name);
    if (documented.has(name)) return [];
    return [
      { path: source.path, line: lineAt(source.text, match.index), message: `${name} has no doc comment` },
    ];
  });
});
