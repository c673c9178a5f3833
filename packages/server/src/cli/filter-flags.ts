/** Flags that say which events are wanted: of subscriptions and of webhooks alike. */
import type { Command } from 'commander';

/** `a,b`, `a b` and repeated flags alike; the server knows which words there are. `\,` is a comma of a name. */
function gather(text: string, before: readonly string[] = []): string[] {
  const words = text.split(/(?<!\\),/u).map((part) => part.replaceAll(String.raw`\,`, ',').trim());
  return [...before, ...words.filter((word) => word !== '')];
}

/** Adds `--type`, `--vm` and `--verdict`. */
export function addFilterFlags(command: Command, ofVerdicts: string): Command {
  return command
    .option(
      '--type <types...>',
      'only events of these types: a b, a,b or the flag again (default: all)',
      gather,
    )
    .option(
      '--vm <machines...>',
      'only events of these machines, by name or UUID, likewise; a comma in a name is \\,',
      gather,
    )
    .option('--verdict <verdicts...>', `${ofVerdicts}, likewise`, gather);
}
