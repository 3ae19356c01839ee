import { steady } from './clock.js';
import type { Limits } from './wire.js';

/** Says when the next operation may be sent: the generic cell rate algorithm, which is a token bucket. */
export interface RateLimit {
  /** Takes leave to send one operation; else tells how many milliseconds to wait. */
  take_(): number;
  /** Nothing more for a second or two. */
  rest_(): void;
}

/** A little below the limits, since the network can push together what was sent apart. */
export function createRateLimit({ rate, burst }: Omit<Limits, 'message'>): RateLimit {
  const gap = 1000 / (rate * 0.9); // ms between operations
  const slack = Math.max(burst * 0.8 - 1, 0) * gap; // that one may come too early
  let due = 0; // when the next one would come if all came evenly
  return {
    take_() {
      const early = (due = Math.max(due, steady())) - slack - steady();
      if (early >= 1) return Math.ceil(early); // less than a timer can wait is no wait
      due += gap;
      return 0;
    },
    rest_() {
      due = steady() + slack + 1000 + 1000 * Math.random();
    },
  };
}
