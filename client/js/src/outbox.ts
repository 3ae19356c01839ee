import { now } from './clock.js';
import { asError, RealtimeError } from './errors.js';
import { createPace, type Limits, type Pace } from './pace.js';

/** What a server answers to one operation. */
export interface Answer {
  event: string;
  ref?: number;
  state?: string;
  reason?: string;
  cursor?: string;
}

/** Called once, with the answer or the refusal. */
export type Done = (error: RealtimeError | undefined, answer?: Answer) => void;

interface Entry {
  text_: string;
  done_: Done;
  /** Operations of one lane are sent one at a time, and end with the connection they are about. */
  lane_: string | undefined;
  /** When it is too late to send it. */
  until_: number;
  ref?: number | undefined;
  timer_?: ReturnType<typeof setTimeout>;
}

/**
 * The operations that have no answer yet, in order. Kept ones outlive the connection and are sent again on the next; the
 * others are about the connection itself. It speaks no faster than the server has said, so that what is sent is not refused.
 */
export interface Outbox {
  /** Whether there is a connection. */
  isOpen_(): boolean;
  /** How many kept operations wait for an answer. */
  kept_(): number;
  /**
   * Adds an operation. With a lane it is about the connection, is forgotten with it, and waits for the answers to those before
   * it in its lane. Without, it outlives the connection, and is refused as `unavailable` after two minutes without an answer.
   */
  add_(op: object, done: Done, lane?: string): void;
  /** A connection is open. What `first` adds goes before what is left of the connection before it. */
  open_(send: (text: string) => void, limits: Partial<Limits> | undefined, first: () => void): void;
  /** The connection is gone. */
  cut_(): void;
  /** Takes an answer; false where nobody waits for it. */
  answer_(answer: Answer): boolean;
  /** Refuses all that waits. */
  fail_(error: RealtimeError): void;
}

export function createOutbox(): Outbox {
  const lifetime = 120_000; // ms; as long as the server knows an id again
  const travel = 10_000; // for the last one sent to arrive

  let entries: Entry[] = [];
  let send: ((text: string) => void) | undefined;
  let pace: Pace;
  let size: number;
  let lastRef = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const isKept = ({ lane_: lane }: Entry): boolean => !lane;
  const late = (entry: Entry): void =>
    settle(entry, new RealtimeError('unavailable', 'no answer', true));
  const settle = (entry: Entry, error: RealtimeError | undefined, answer?: Answer): void => {
    clearTimeout(entry.timer_);
    entries = entries.filter((other) => other !== entry);
    entry.done_(error, answer);
  };
  /** The first that may be sent. */
  const next = (): Entry | undefined => {
    const busy = new Set<string | undefined>();
    for (const entry of send ? entries : []) {
      const { lane_: lane, ref } = entry;
      if (!ref && !busy.has(lane)) return entry;
      if (lane) busy.add(lane);
    }
    return undefined;
  };
  const pump = (): void => {
    let entry: Entry | undefined;
    // Whoever is told of a refusal may add operations, or hang up.
    while ((entry = next())) {
      const text = `{"ref":${lastRef + 1},${entry.text_.slice(1)}`;
      // A timer stands still while the machine sleeps, and the server does not.
      if (now() > entry.until_) late(entry);
      // A server closes the connection over a frame that is too large, and again each time it is sent.
      else if (new TextEncoder().encode(text).length > size)
        settle(entry, new RealtimeError('too_large', `larger than ${size} bytes`));
      else {
        const wait = pace.take_();
        clearTimeout(timer);
        if (wait) {
          timer = setTimeout(pump, wait);
          return;
        }
        entry.ref = ++lastRef;
        send!(text);
      }
    }
  };

  return {
    isOpen_: () => !!send,
    kept_: () => entries.filter(isKept).length,
    add_(op, done, lane) {
      const entry: Entry = { text_: JSON.stringify(op), done_: done, lane_: lane, until_: Infinity };
      if (!lane) {
        entry.until_ = now() + lifetime - travel;
        entry.timer_ = setTimeout(() => late(entry), lifetime);
      }
      entries.push(entry);
      pump();
    },
    open_(to, limits, first) {
      size = limits?.message ?? Infinity;
      pace = createPace(limits);
      lastRef = 0;
      send = to;
      const left = entries;
      entries = [];
      first();
      entries.push(...left);
      pump();
    },
    cut_() {
      send = undefined;
      clearTimeout(timer);
      entries = entries.filter(isKept);
      for (const entry of entries) entry.ref = undefined;
    },
    answer_(answer) {
      const entry = entries.find(({ ref }) => ref && ref === answer.ref);
      if (!entry) return false;
      const error = answer.event === 'error' ? asError(answer) : undefined;
      if (error && (error.code === 'rate_limited' || (error.retry && !isKept(entry)))) {
        // again, and nothing before it, in a second or two
        entry.ref = undefined;
        pace.rest_(1 + Math.random());
      } else settle(entry, error, answer);
      pump();
      return true;
    },
    fail_(error) {
      for (const entry of [...entries]) settle(entry, error);
    },
  };
}
