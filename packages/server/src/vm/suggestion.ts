/** "Did you mean": the nearest known word to one that is not known. */
import { closest, distance } from 'fastest-levenshtein';
import { maxSuggestionLength } from '../limits.ts';

/** ` (did you mean 'web-1'?)`, or nothing where no known word is near. */
export function didYouMean(word: string, known: readonly string[]): string {
  const nearest = nearestOf(word, known);
  return nearest === undefined ? '' : `; did you mean '${nearest}'?`;
}

/** The known word within a third of the length (at least two letters) of `word`, capitals apart. */
function nearestOf(word: string, known: readonly string[]): string | undefined {
  if (word.length > maxSuggestionLength || known.length === 0) return undefined;
  const lower = known.map((each) => each.toLowerCase());
  const nearest = closest(word.toLowerCase(), lower);
  const reach = Math.max(2, Math.floor(word.length / 3));
  if (distance(word.toLowerCase(), nearest) > reach) return undefined;
  return known[lower.indexOf(nearest)];
}
