/** What the tidy rules read: the project's own files, seen as code, as comments and as imports. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** A file of the project; a path with `/`, from the project's root. */
export interface Source {
  readonly path: string;
  readonly text: string;
}

/** A rule's finding. */
export interface Violation {
  readonly path: string;
  /** From 1. */
  readonly line: number;
  readonly message: string;
}

/** A rule: from all files to what is wrong with them. */
export type Rule = (sources: readonly Source[]) => Violation[];

/** One import, re-export, dynamic import, or file named in `new URL(..., import.meta.url)`. */
export interface Import {
  readonly specifier: string;
  readonly line: number;
}

const GENERATED_FOLDERS = new Set(['node_modules', 'dist', '.git', '.cache', 'coverage']);

function listWithoutGit(root: string, folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (!entry.isDirectory()) return entry.isFile() ? [path] : [];
    return GENERATED_FOLDERS.has(entry.name) ? [] : listWithoutGit(root, path);
  });
}

/** All files that are, or would be, committed; in an unpacked archive all that are not generated. */
export function readProject(root: string): Source[] {
  let paths: string[];
  try {
    const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
    const output = execFileSync('git', list, {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    paths = output.split('\0').filter((path) => path !== '');
  } catch {
    paths = listWithoutGit(root, '');
  }
  return paths.flatMap((path) => {
    const isFile = statSync(join(root, path), { throwIfNoEntry: false })?.isFile() === true;
    return isFile ? [{ path, text: readFileSync(join(root, path), 'utf8') }] : [];
  });
}

/** Whether the file is TypeScript or JavaScript. */
export function isScript(path: string): boolean {
  return /\.(ts|tsx|mjs|js)$/.test(path);
}

/** Whether the file is a test, or serves only tests. */
export function isTest(path: string): boolean {
  return path.endsWith('.test.ts') || path.startsWith('test/') || path.startsWith('bench/');
}

/** Line of an offset, from 1. */
export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at !== -1 && at < offset; at = text.indexOf('\n', at + 1)) line += 1;
  return line;
}

/** A violation for every match of the pattern in `seen`, a view of the source of the same length. */
export function matches(source: Source, seen: string, pattern: RegExp, message: string): Violation[] {
  return [...seen.matchAll(pattern)].map((match) => {
    const offset = match.index + match[0].length - match[0].trimStart().length;
    return {
      path: source.path,
      line: lineAt(source.text, offset),
      message: `${message}: ${match[0].trim()}`,
    };
  });
}

/** Views of one text, each as long as the text: what does not belong is blank, line ends stay. */
export interface Views {
  /** Without comments and without the contents of strings, templates and regular expressions. */
  readonly code: string;
  /** Without comments. */
  readonly statements: string;
  /** Comments only. */
  readonly comments: string;
}

const REGEX_MAY_FOLLOW =
  /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|do|else|void|await|yield))\s*$/;
const TOKEN = {
  comment: /\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/y,
  string: /'(?:[^'\\\n]|\\[\s\S])*'?|"(?:[^"\\\n]|\\[\s\S])*"?/y,
  regex: /\/(?![*/])(?:[^\\/[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y,
  template: /(?:[^`\\$]|\\[\s\S]|\$(?!\{))*(?:`|\$\{|$)/y,
};
const blank = (text: string): string => text.replace(/[^\n]/g, ' ');

function take(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? '';
}

/** Tells code, strings and comments apart, well enough for this project's own files. */
export function view(text: string): Views {
  const views = { code: '', statements: '', comments: '' };
  // For each open `${`: how many braces inside it are open.
  const templates: number[] = [];
  const add = (code: string, statements: string, comments: string): void => {
    views.code += code;
    views.statements += statements;
    views.comments += comments;
  };
  let at = 0;
  while (at < text.length) {
    const char = text.charAt(at);
    const depth = templates.at(-1);
    let token = char === '/' ? take(TOKEN.comment, text, at) : '';
    if (token !== '') {
      add(blank(token), blank(token), token);
      at += token.length;
      continue;
    }
    if (char === "'" || char === '"') token = take(TOKEN.string, text, at);
    else if (char === '/' && REGEX_MAY_FOLLOW.test(views.code.slice(-40)))
      token = take(TOKEN.regex, text, at);
    else if (char === '`' || (char === '}' && depth === 0)) {
      token = char + take(TOKEN.template, text, at + 1);
      if (char === '}') templates.pop();
      if (token.endsWith('${')) templates.push(0);
    } else if (depth !== undefined && (char === '{' || char === '}')) {
      templates[templates.length - 1] = depth + (char === '{' ? 1 : -1);
    }
    if (token === '') add(char, char, char === '\n' ? char : ' ');
    else add(token.charAt(0) + blank(token.slice(1, -1)) + token.slice(1).slice(-1), token, blank(token));
    at += token === '' ? 1 : token.length;
  }
  return views;
}

const STATIC = /(?<=^|[\n;}]\s*)(?:import|export)\b(?:[^'";]*?\bfrom)?\s*['"]([^'"\n]+)['"]/g;
const DYNAMIC = /\bimport\s*\(\s*['"]([^'"\n]+)['"]/g;
const BY_URL = /\bnew URL\(([^;]*?),\s*import\.meta\.url\s*,?\s*\)/g;

/** All that a source names of other sources; a `.js` in a URL means the `.ts` it is built from. */
export function importsOf(source: Source): Import[] {
  const { code, statements } = view(source.text);
  const found = [...statements.matchAll(STATIC), ...statements.matchAll(DYNAMIC)]
    .filter((match) => /^(?:import|export)/.test(code.slice(match.index)))
    .map((match) => ({ specifier: match[1] ?? '', line: lineAt(source.text, match.index) }));
  const byUrl = [...statements.matchAll(BY_URL)].flatMap((match) =>
    [...(match[1] ?? '').matchAll(/['"](\.\.?\/[^'"]+)\.[jt]s['"]/g)].map((name) => ({
      specifier: `${name[1] ?? ''}.ts`,
      line: lineAt(source.text, match.index),
    })),
  );
  return [...found, ...byUrl];
}

/** Where a relative specifier leads, from the project's root. */
export function resolveFrom(path: string, specifier: string): string {
  return new URL(specifier, `file:///${path}`).pathname.slice(1);
}
