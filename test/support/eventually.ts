/** Waiting for a condition instead of for a time. */

/** Resolves once `condition` holds; rejects with what was waited for after two minutes. */
export async function eventually(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 120_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited two minutes in vain for: ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
}
