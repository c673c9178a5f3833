/** Text for terminals: what a guest or a server named cannot steer the terminal it is shown on. */

// Control characters (C0 with ESC, DEL, C1 with CSI), invisible and direction-changing format characters, line and
// paragraph separators, lone surrogates, private use.
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]/gu;

/** `text` with every character that a terminal would act on, or hide, shown as `\u{…}`. */
export function clean(text: string): string {
  return text.replaceAll(unsafe, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}

/** Text of many lines: line breaks and tabs stay, all else as `clean` has it. */
export function cleanLines(text: string): string {
  return text
    .split(/(\r?\n|\t)/u)
    .map((part, index) => (index % 2 === 1 ? part.replace('\r', '') : clean(part)))
    .join('');
}

/** JSON whose every unsafe character is escaped: it stays the same value and can be shown on a terminal. */
export function toJson(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, undefined, indent);
  return text.replaceAll(unsafe, (character) => {
    if (character === '\n') return character;
    return Array.from({ length: character.length }, (_, index) => {
      return `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`;
    }).join('');
  });
}

/** At most `length` characters of `text`. */
export function shorten(text: string, length: number): string {
  const characters = Array.from(text);
  return characters.length <= length ? text : `${characters.slice(0, length - 1).join('')}…`;
}

const units = [
  { ms: 86_400_000, name: 'd' },
  { ms: 3_600_000, name: 'h' },
  { ms: 60_000, name: 'min' },
  { ms: 1_000, name: 's' },
];

/** `250 ms`, `1.5 s`, `3 min 4 s`, `2 d 5 h`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 1_000) return `${Math.round(durationMs)} ms`;
  if (durationMs < 59_950) return `${Number((durationMs / 1_000).toFixed(1))} s`;
  const rounded = Math.round(durationMs / 1_000) * 1_000;
  const first = units.findIndex((unit) => rounded >= unit.ms);
  const [large, small] = [units[first], units[first + 1]];
  if (large === undefined) return `${durationMs} ms`;
  const rest = rounded % large.ms;
  const more = small === undefined || rest < small.ms ? '' : ` ${Math.floor(rest / small.ms)} ${small.name}`;
  return `${Math.floor(rounded / large.ms)} ${large.name}${more}`;
}
