/** systemd's unit files, read as systemd reads them, as far as the project writes them. */

/** One assignment. */
export interface Setting {
  readonly section: string;
  readonly key: string;
  readonly value: string;
}

/** Errors: a line that is no section, assignment or comment; continued lines are not written here. */
export function parseUnit(text: string): Setting[] {
  let section = '';
  return text.split('\n').flatMap((line, index) => {
    if (line === '' || line.startsWith('#')) return [];
    const named = /^\[([A-Z][A-Za-z]+)\]$/u.exec(line)?.[1];
    if (named !== undefined) {
      section = named;
      return [];
    }
    const [, key, value] = /^([A-Z][A-Za-z]+)=(.*[^\s\\])?$/u.exec(line) ?? [];
    if (key === undefined || section === '') throw new Error(`line ${index + 1} is no setting: ${line}`);
    return [{ section, key, value: value ?? '' }];
  });
}

/** What holds in the end: later files add to, or replace, what earlier ones say; an empty value forgets what was. */
export function valuesOf(settings: readonly Setting[], section: string, key: string): string[] {
  return settings
    .filter((setting) => setting.section === section && setting.key === key)
    .reduce<string[]>((values, { value }) => (value === '' ? [] : [...values, value]), []);
}
