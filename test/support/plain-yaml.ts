/**
 * Reads the part of YAML that the examples are written in, and refuses all else: mappings and sequences in block style,
 * plain and single-quoted scalars of one line, folded blocks (`>-`), comments on lines of their own. Scalars stay text.
 */

/** What such a file says. */
export type Yaml = string | readonly Yaml[] | { readonly [key: string]: Yaml };

interface Line {
  readonly number: number;
  readonly indent: number;
  readonly text: string;
}

const keyed = /^([A-Za-z_]\w*|'(?:[^']|'')+'):(?: +(\S.*))?$/u;
/** First characters with a meaning of their own. */
const special = /^[[\]{},&*!|>%@`"#?:-]/u;

/** Errors: whatever is not of that part, by the number of its line. */
export function parsePlainYaml(text: string): Yaml {
  const lines = text
    .split('\n')
    .map((line, index) => ({
      number: index + 1,
      indent: /^ */u.exec(line)?.[0].length ?? 0,
      text: line.trim(),
      line,
    }))
    .filter((line) => line.text !== '' && !line.text.startsWith('#'));
  const bad = lines.find(({ line }) => /\t|\s$/u.test(line));
  if (bad !== undefined) throw new Error(`line ${bad.number}: a tab, or a blank at its end`);
  return new Reader(lines).all();
}

class Reader {
  readonly #lines: Line[];

  constructor(lines: readonly Line[]) {
    this.#lines = [...lines];
  }

  all(): Yaml {
    const value = this.#node(0);
    const [rest] = this.#lines;
    if (rest !== undefined) throw new Error(`line ${rest.number}: its indentation fits nothing`);
    return value;
  }

  #node(indent: number): Yaml {
    const [first] = this.#lines;
    if (first === undefined || first.indent !== indent) throw this.#refused('a value is missing');
    return first.text.startsWith('- ') ? this.#sequence(indent) : this.#mapping(indent);
  }

  #sequence(indent: number): Yaml[] {
    const items: Yaml[] = [];
    while (this.#lines[0]?.indent === indent) {
      const [line] = this.#lines;
      if (line === undefined || !line.text.startsWith('- ')) throw this.#refused('no item of a sequence');
      const text = line.text.slice(2);
      if (keyed.test(text)) {
        // A mapping whose first key stands behind the dash.
        this.#lines[0] = { ...line, indent: indent + 2, text };
        items.push(this.#mapping(indent + 2));
      } else {
        this.#lines.shift();
        items.push(scalar(text, line.number));
      }
    }
    return items;
  }

  #mapping(indent: number): Yaml {
    const found = new Map<string, Yaml>();
    while (this.#lines[0]?.indent === indent) {
      const [line] = this.#lines;
      const [, key = '', value] = keyed.exec(line?.text ?? '') ?? [];
      if (line === undefined || key === '') throw this.#refused('no key with its value');
      if (found.has(key)) throw this.#refused(`${key} is there twice`);
      this.#lines.shift();
      found.set(key, this.#value(indent, value, line.number));
    }
    return Object.fromEntries(found);
  }

  #value(indent: number, text: string | undefined, number: number): Yaml {
    if (text === '>-') return this.#folded(indent);
    if (text !== undefined) return scalar(text, number);
    const next = this.#lines[0]?.indent ?? 0;
    if (next <= indent) throw new Error(`line ${number}: its value is missing`);
    return this.#node(next);
  }

  #folded(indent: number): string {
    const own = this.#lines[0]?.indent ?? 0;
    if (own <= indent) throw this.#refused('a folded text is missing');
    const words: string[] = [];
    while (this.#lines[0]?.indent === own) words.push(this.#lines.shift()?.text ?? '');
    // Lines that stand deeper are not folded.
    if ((this.#lines[0]?.indent ?? 0) > indent) throw this.#refused('another indentation in a folded text');
    return words.join(' ');
  }

  #refused(why: string): Error {
    const [line] = this.#lines;
    return new Error(line === undefined ? `at the end: ${why}` : `line ${line.number}: ${why}: ${line.text}`);
  }
}

function scalar(text: string, number: number): string {
  const quoted = /^'((?:[^']|'')*)'$/u.exec(text)?.[1];
  if (quoted !== undefined) return quoted.replaceAll("''", "'");
  // What a reader of all of YAML may take for something else is to be quoted.
  if (special.test(text) || /: | #|:$/u.test(text)) throw new Error(`line ${number}: quote it: ${text}`);
  return text;
}
