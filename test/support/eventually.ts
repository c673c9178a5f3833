/** Waiting for a condition instead of for a time. */

/** Resolves once `condition` holds; rejects with what was waited for after a minute. */
export async function eventually(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited a minute in vain for: ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
}
