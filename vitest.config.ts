import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

// Unit tests read the sources of the workspace's packages, so that they need no build.
const alias = [
  { find: /^@vmpulse\/wire$/, replacement: source('packages/wire/src/index.ts') },
  { find: /^@vmpulse\/client$/, replacement: source('packages/client/src/index.ts') },
  { find: /^@vmpulse\/client\/node$/, replacement: source('packages/client/src/node.ts') },
];

// The one default export of the project: vitest offers no other way to be configured.
export default defineConfig({
  test: {
    pool: 'forks',
    teardownTimeout: 60_000,
    projects: [
      {
        resolve: { alias },
        test: {
          name: 'unit',
          pool: 'forks',
          // 170 files of short tests: a process of its own for each would cost a sixth of the whole suite's time.
          isolate: false,
          // Some speak to real sockets, threads and disks; processors that others have must not fail them.
          testTimeout: 400_000,
          hookTimeout: 400_000,
          expect: { poll: { timeout: 120_000 } },
          include: [
            'packages/*/src/**/*.test.ts',
            'test/tidy.test.ts',
            'test/contract/**/*.test.ts',
            'guest/**/*.test.ts',
            'images/**/*.test.ts',
          ],
        },
      },
      {
        resolve: { alias },
        test: {
          name: 'sim',
          pool: 'forks',
          include: ['test/sim/**/*.test.ts'],
          testTimeout: 1_200_000,
        },
      },
      {
        resolve: { alias },
        test: {
          name: 'e2e',
          pool: 'forks',
          include: ['test/e2e/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 600_000,
          hookTimeout: 600_000,
          expect: { poll: { timeout: 120_000 } },
        },
      },
    ],
  },
});
