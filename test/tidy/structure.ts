/** Rules about who imports whom, and whether anybody does. */
import type { Import, Rule, Source, Violation } from './source.ts';
import { importsOf, isTest, resolveFrom } from './source.ts';

/** The shape that the structure rules keep. Paths are from the project's root. */
export interface Shape {
  /** Folder of the units below. */
  readonly server: string;
  /** Units (a folder, or a file without `.ts`) from the lowest floor up; a unit imports only lower floors. */
  readonly floors: readonly (readonly string[])[];
  /** Adapters: one file (with `.ts`), a folder (with `/`) or all files that begin so. */
  readonly adapters: readonly string[];
  /** The only file that imports adapters from outside. */
  readonly compositionRoot: string;
  /** The one unit whose files talk to the service like any client, and what they may import besides themselves. */
  readonly cli: {
    readonly unit: string;
    readonly imports: readonly string[];
    readonly exempt: readonly string[];
  };
  /** Files from which all others must be reachable. */
  readonly entries: readonly string[];
  /** Files that only tests reach, on purpose: all that begin so. */
  readonly forTests: readonly string[];
}

interface Edge extends Import {
  readonly from: Source;
  /** The file it leads to; undefined: a package. */
  readonly to: string | undefined;
}

const inPackages = (path: string): boolean => /^packages\/[^/]+\/src\//.test(path) && path.endsWith('.ts');

function edges(sources: readonly Source[]): Edge[] {
  return sources.flatMap((from) =>
    importsOf(from).map((one) => {
      const to = one.specifier.startsWith('.') ? resolveFrom(from.path, one.specifier) : undefined;
      return { ...one, from, to };
    }),
  );
}

const productEdges = (sources: readonly Source[]): Edge[] =>
  edges(sources.filter((source) => inPackages(source.path) && !isTest(source.path)));

const wrong = (edge: Edge, message: string): Violation => ({
  path: edge.from.path,
  line: edge.line,
  message,
});

/** `wire` imports nothing, `client` only wire and its parser, no package reaches into another one's files. */
export function packageDirection(allowed: Readonly<Record<string, readonly string[]>>): Rule {
  return (sources) => {
    const imports = productEdges(sources).flatMap((edge) => {
      const home = edge.from.path.split('/').slice(0, 3).join('/');
      if (edge.to !== undefined) {
        return edge.to.startsWith(`${home}/`) ? [] : [wrong(edge, `${edge.specifier} leaves the package`)];
      }
      const list = allowed[edge.from.path.split('/')[1] ?? ''];
      const fits = list === undefined || list.some((name) => `${edge.specifier}/`.startsWith(name));
      return fits ? [] : [wrong(edge, `this package must not import ${edge.specifier}`)];
    });
    const manifests = sources.flatMap(({ path, text }) => {
      const list = allowed[/^packages\/([^/]+)\/package\.json$/.exec(path)?.[1] ?? ''];
      if (list === undefined) return [];
      const manifest = JSON.parse(text) as { dependencies?: Record<string, string> };
      return Object.keys(manifest.dependencies ?? {})
        .filter((name) => !list.includes(`${name}/`))
        .map((name) => ({ path, line: 1, message: `this package must not depend on ${name}` }));
    });
    return [...imports, ...manifests];
  };
}

/** A unit of the server imports only units of lower floors, and every unit has a floor. */
export function floorDirection(shape: Shape): Rule {
  const unitOf = (path: string): string | undefined =>
    path.startsWith(shape.server)
      ? path.slice(shape.server.length).split('/')[0]?.replace(/\.ts$/, '')
      : undefined;
  const floorOf = (unit: string): number => shape.floors.findIndex((floor) => floor.includes(unit));
  return (sources) => {
    const homeless = sources.flatMap(({ path }): Violation[] => {
      const unit = unitOf(path)?.replace(/\.test$/, '');
      if (unit === undefined || floorOf(unit) !== -1) return [];
      return [{ path, line: 1, message: `unit ${unit} has no floor in test/tidy.test.ts` }];
    });
    const upward = productEdges(sources).flatMap((edge) => {
      const from = unitOf(edge.from.path);
      const to = edge.to === undefined ? undefined : unitOf(edge.to);
      if (from === undefined || to === undefined || from === to) return [];
      if (floorOf(from) === -1 || floorOf(to) === -1 || floorOf(to) < floorOf(from)) return [];
      return [wrong(edge, `${from} must not import ${to}: it is not on a lower floor`)];
    });
    return [...homeless, ...upward];
  };
}

/** Adapters never import each other, and only the composition root imports them. */
export function adapterIsolation(shape: Shape): Rule {
  const adapterOf = (path: string | undefined): string | undefined =>
    shape.adapters.find((adapter) => path?.startsWith(shape.server + adapter));
  return (sources) =>
    productEdges(sources).flatMap((edge) => {
      const [from, to] = [adapterOf(edge.from.path), adapterOf(edge.to)];
      if (to === undefined || from === to || edge.from.path === shape.server + shape.compositionRoot)
        return [];
      if (from === undefined) return [wrong(edge, `only ${shape.compositionRoot} imports the adapter ${to}`)];
      return [wrong(edge, `the adapter ${from} must not import the adapter ${to}`)];
    });
}

/** The command line is a client like any other. */
export function cliIsClient(shape: Shape): Rule {
  const folder = `${shape.server}${shape.cli.unit}/`;
  return (sources) =>
    productEdges(sources).flatMap((edge) => {
      if (!edge.from.path.startsWith(folder) || edge.to === undefined || edge.to.startsWith(folder))
        return [];
      if (shape.cli.exempt.includes(edge.from.path.slice(folder.length))) return [];
      if (shape.cli.imports.includes(edge.to.slice(shape.server.length))) return [];
      return [wrong(edge, `${shape.cli.unit} uses the client package, not ${edge.specifier}`)];
    });
}

function reachable(from: readonly string[], sources: readonly Source[]): Set<string> {
  const bySource = new Map<string, string[]>();
  for (const edge of edges(sources)) {
    if (edge.to !== undefined)
      bySource.set(edge.from.path, [...(bySource.get(edge.from.path) ?? []), edge.to]);
  }
  const seen = new Set(from);
  for (const path of seen) for (const next of bySource.get(path) ?? []) seen.add(next);
  return seen;
}

/** What a browser loads of the client names nothing that only Node has. */
export function browserSafe(entry: string): Rule {
  return (sources) => {
    const product = sources.filter((source) => inPackages(source.path));
    const loaded = reachable([entry], product);
    return edges(product.filter((source) => loaded.has(source.path)))
      .filter((edge) => edge.specifier.startsWith('node:'))
      .map((edge) => wrong(edge, `${edge.specifier} is reachable from ${entry}, which browsers load`));
  };
}

/** Every file is reachable from an entry point; those made for tests, from a test. */
export function noDeadFile(shape: Shape): Rule {
  return (sources) => {
    const scripts = sources.filter((source) => source.path.endsWith('.ts'));
    const product = scripts.filter((source) => inPackages(source.path) && !isTest(source.path));
    // A thread's module is started by its name, which no import shows.
    const threads = product.map(({ path }) => path).filter((path) => path.endsWith('-worker.ts'));
    const used = reachable([...shape.entries, ...threads], product);
    const tested = reachable(
      scripts.filter((source) => isTest(source.path)).map((source) => source.path),
      scripts,
    );
    const isForTests = (path: string): boolean => shape.forTests.some((start) => path.startsWith(start));
    return product
      .filter(({ path }) => !used.has(path) && !(isForTests(path) && tested.has(path)))
      .map(({ path }) => ({ path, line: 1, message: 'no entry point reaches this file' }));
  };
}
