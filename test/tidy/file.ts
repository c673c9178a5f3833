/** Rules about files as such: names, sizes, and what is committed at all. */
import type { Rule, Source, Violation } from './source.ts';
import { isScript } from './source.ts';

const CODE_FOLDERS = /^(?:packages\/[^/]+\/src|test|bench|scripts|guest|images|examples)\//;
const KEBAB = /^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z0-9]+(?:-[a-z0-9]+)*)*$/;
const SHAPELESS = /^(?:utils?|helpers?|common|types?|misc|shared)$/;

/** Names are kebab-case nouns that say what is inside. */
export const fileNames: Rule = (sources) =>
  sources
    .filter(({ path }) => CODE_FOLDERS.test(path))
    .flatMap(({ path }) => {
      const parts = path.replace(CODE_FOLDERS, '').split('/');
      const names = parts.filter((part) => !part.startsWith('.') && part !== 'README.md');
      const messages = names.flatMap((name) => [
        ...(KEBAB.test(name) ? [] : [`${name} is not kebab-case`]),
        ...(SHAPELESS.test(name.split('.')[0] ?? '') ? [`${name} says nothing about what is inside`] : []),
      ]);
      return messages.map((message) => ({ path, line: 1, message }));
    });

const isCode = ({ path, text }: Source): boolean =>
  isScript(path) || /\.(?:sh|ps1)$/.test(path) || (CODE_FOLDERS.test(path) && text.startsWith('#!'));

/** A file fits a head, a line fits a screen. */
export function sizes(limits: { readonly lines: number; readonly columns: number }): Rule {
  return (sources) =>
    sources.filter(isCode).flatMap(({ path, text }): Violation[] => {
      const lines = text.replace(/\n$/, '').split('\n');
      const long = lines.flatMap((content, index) => {
        const columns = Array.from(content).length;
        if (columns <= limits.columns) return [];
        return [{ path, line: index + 1, message: `${columns} columns; at most ${limits.columns}` }];
      });
      if (lines.length <= limits.lines) return long;
      return [
        ...long,
        { path, line: limits.lines + 1, message: `${lines.length} lines; at most ${limits.lines}` },
      ];
    });
}

const GENERATED =
  /(?:^|\/)(?:node_modules|dist|coverage|\.cache)\/|\.(?:tsbuildinfo|map|tgz|log|o|so|deb|img|qcow2|sqlite)$/;
const PICTURE = /^docs\/.*\.(?:png|webp|gif)$/;

/** Only what people write is committed; pictures for the documentation are the exception. */
export function onlySources(maxCharacters: number): Rule {
  return (sources) =>
    sources.flatMap(({ path, text }): Violation[] => {
      if (GENERATED.test(path)) return [{ path, line: 1, message: 'is generated' }];
      if (PICTURE.test(path)) return [];
      if (text.includes('\0') || text.includes('\uFFFD')) return [{ path, line: 1, message: 'is binary' }];
      if (text.length <= maxCharacters) return [];
      return [{ path, line: 1, message: `${text.length} characters; at most ${maxCharacters}` }];
    });
}

/** All packages have one version and want that one of each other; the lock file names no download address. */
export const oneVersion: Rule = (sources) => {
  const manifests = sources
    .filter(({ path }) => /^(?:packages\/[^/]+\/)?package\.json$/.test(path))
    .map(({ path, text }) => ({
      path,
      json: JSON.parse(text) as { name: string; version: string; dependencies?: Record<string, string> },
    }));
  const version = manifests.find(({ path }) => path === 'package.json')?.json.version;
  const own = new Set(manifests.map(({ json }) => json.name));
  const versions = manifests.flatMap(({ path, json }) => [
    ...(json.version === version
      ? []
      : [{ path, line: 1, message: `version ${json.version}, the root's is ${version}` }]),
    ...Object.entries(json.dependencies ?? {})
      .filter(([name, wanted]) => own.has(name) && wanted !== version)
      .map(([name, wanted]) => ({ path, line: 1, message: `wants ${name} ${wanted}, which is ${version}` })),
  ]);
  const addresses = sources
    .filter(({ path, text }) => path === 'package-lock.json' && /"resolved": "https?:/.test(text))
    .map(({ path }) => ({ path, line: 1, message: 'names download addresses (see .npmrc)' }));
  return [...versions, ...addresses];
};
