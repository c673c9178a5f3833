import { expect, test } from 'vitest';
import { Watermark } from './watermark.ts';

test.each([
  ['moves on', [200, 300], 300],
  ['never runs backwards', [200, 150, 199], 200],
  ['does not move without a drain', [], 100],
])('the watermark %s', (_name, drained, expected) => {
  const watermark = new Watermark(100);
  for (const each of drained) watermark.drained(each);
  expect(watermark.valueMs).toBe(expected);
});
