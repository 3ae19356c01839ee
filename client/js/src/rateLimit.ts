import { steady } from './clock.js';
import type { Limits } from './wire.js';

/** Says when the next operation may be sent: the generic cell rate algorithm, which is a token bucket. */
export interface RateLimit {
  /** Takes leave to send one operation; else returns false, and calls `again` when it may be asked again. */
  take_(again: () => void): boolean;
  /** Nothing more for a second or two. */
  rest_(): void;
}

/** A little below the limits, since the network can push together what was sent apart. */
export function createRateLimit({ rate, burst }: Omit<Limits, 'message'>): RateLimit {
  const gap = 1000 / (rate * 0.9); // ms between operations
  const slack = Math.max(burst * 0.8 - 1, 0) * gap; // that one may come too early
  let due = 0; // when the next one would come if all came evenly
  let timer: ReturnType<typeof setTimeout> | undefined;
  return {
    take_(again) {
      const early = (due = Math.max(due, steady())) - slack - steady();
      clearTimeout(timer);
      if (early < 1) due += gap; // less than a timer can wait is no wait
      else
        timer = setTimeout(() => {
          due = Math.min(due, steady() + slack); // the clock may stand still
          again();
        }, early);
      return early < 1;
    },
    rest_() {
      due = steady() + slack + 1000 + 1000 * Math.random();
    },
  };
}
