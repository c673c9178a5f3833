// A line for each step with the time it took. A terminal sees the running step's time and last output; a log
// sees one line when a step takes long and one when it has ended.

const TICK_MS = 200;
/** A step that ends sooner needs no line that says it has begun. */
const QUIET_MS = 1_000;

/** A step's failure: its message is one sentence that says what to do. */
export class StepError extends Error {
  /** @param {string} message @param {string} [output]  what the failing program said */
  constructor(message, output = '') {
    super(message);
    this.output = output;
  }
}

/** @param {number} since @returns {string} */
export function elapsed(since) {
  const seconds = (performance.now() - since) / 1_000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/**
 * Runs one step and shows it. A step that succeeds at once, because there was nothing to do, leaves no line.
 * @template T
 * @param {string} title
 * @param {(show: (line: string) => void) => Promise<T>} work  given where to show what it is at
 * @returns {Promise<T>}
 */
export async function step(title, work) {
  const since = performance.now();
  const terminal = process.stdout.isTTY && process.env['CI'] === undefined;
  let at = '';
  let begun = false;
  const draw = () => {
    if (performance.now() - since < QUIET_MS) return;
    if (terminal) {
      const text = `  … ${title}  ${elapsed(since)}  ${at}`;
      process.stdout.write(`\r\x1b[K${text.slice(0, (process.stdout.columns || 80) - 1)}`);
    } else if (!begun) {
      console.log(`  … ${title}`);
      begun = true;
    }
  };
  const ticker = setInterval(draw, TICK_MS);
  /** @param {string} mark */
  const end = (mark) => {
    clearInterval(ticker);
    console.log(`${terminal ? '\r\x1b[K' : ''}  ${mark} ${title}  ${elapsed(since)}`);
  };
  try {
    // eslint-disable-next-line no-control-regex -- escape sequences are what is taken out
    const result = await work((line) => (at = line.replace(/\x1b\[[0-9;]*[A-Za-z]/g, '')));
    if (performance.now() - since >= QUIET_MS) end('✓');
    else clearInterval(ticker);
    return result;
  } catch (error) {
    end('✗');
    throw error;
  }
}

/**
 * The last lines of a text, for the report of a failure.
 * @param {string} text
 * @param {number} count
 * @returns {string}
 */
export function lastLines(text, count) {
  return text.trimEnd().split('\n').slice(-count).join('\n');
}
