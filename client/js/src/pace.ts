import { now } from './clock.js';

/** How fast and how large a server lets a client speak; see the hello in docs/protocol.md. */
export interface Limits {
  message: number;
  rate: number;
  burst: number;
}

/** A token bucket: says when the next operation may be sent. */
export interface Pace {
  /** Takes leave to send one operation; else tells how many milliseconds to wait. */
  take_(): number;
  /** Nothing more for so many seconds. */
  rest_(seconds: number): void;
}

/** A little below the limits, since the network can push together what was sent apart. */
export function createPace({ rate = 30, burst = 60 }: Partial<Limits> = {}): Pace {
  const perSecond = Math.max(rate * 0.9, 0.1);
  const most = Math.max(burst * 0.8, 1);
  let tokens = most;
  let filled = now();
  return {
    take_() {
      const time = now();
      tokens = Math.min(most, tokens + ((time - filled) / 1000) * perSecond);
      filled = time;
      if (tokens < 1) return Math.ceil(((1 - tokens) / perSecond) * 1000);
      tokens--;
      return 0;
    },
    rest_(seconds) {
      tokens = Math.min(tokens, -perSecond * seconds);
      filled = now();
    },
  };
}
