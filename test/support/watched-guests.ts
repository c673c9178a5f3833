/** What every test of detection does around its guests. */
import { afterEach, expect } from 'vitest';
import { WatchedGuest, type WatchedGuestOptions } from './watched-guest.ts';

/** Makes guests; after each test none of them may have met a failure, and their monitors are closed. */
export function watchedGuests(): (options?: WatchedGuestOptions) => WatchedGuest {
  const guests: WatchedGuest[] = [];
  afterEach(() => {
    for (const each of guests.splice(0)) {
      expect(each.failures).toEqual([]);
      each.monitor.close();
    }
  });
  return (options = {}) => {
    const made = new WatchedGuest(options);
    guests.push(made);
    return made;
  };
}
