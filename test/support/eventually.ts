/** Waiting for a condition instead of for a time. */

/** Resolves once `condition` holds; rejects with what was waited for after 5 s. */
export async function eventually(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited 5 s in vain for: ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
}
