import { now } from './clock.js';
import { asError, RealtimeError } from './errors.js';
import { createRateLimit, type RateLimit } from './rateLimit.js';
import type { Frame, Limits } from './wire.js';

/** Called once, with the answer or the refusal; with neither where nothing was asked in the end. */
export interface Done {
  (error?: RealtimeError, answer?: Frame): void;
  /** Whether nobody wants it any longer, so that what is refused for the moment is not said again. */
  stale_?: () => boolean;
}

interface Entry {
  text_: string | undefined;
  /** Where there is no text yet, makes it: undefined where nobody wants it by now. */
  make_: () => object | undefined;
  done_: Done;
  ref_?: number | undefined;
  /** Of those that outlive the connection: ends the wait for an answer. */
  timer_?: ReturnType<typeof setTimeout>;
  /** And when it is too late to send it. */
  until_?: number;
}

/**
 * The operations that have no answer yet, in order. Kept ones outlive the connection and are sent again on the next; the
 * others are about the connection itself. It speaks no faster than the server has said, so that what is sent is not
 * refused, and says again what was refused for the moment.
 */
export interface Outbox {
  /** Whether there is a connection. */
  isOpen_(): boolean;
  /**
   * Adds an operation. It is about the connection, and forgotten with it, unless it is to be `kept`. Then it is refused as
   * `unavailable` after two minutes without an answer, or as `too_many` at once if 100 wait already.
   *
   * @param op - a function makes it when its turn comes. Where that gives none, it ends with no answer.
   */
  add_(op: object | (() => object | undefined), done: Done, kept?: boolean): void;
  /** A connection is open. What `first` adds goes before what is left of the connection before it. */
  open_(send: (text: string) => void, limits: Limits, first: () => void): void;
  /** The connection is gone. */
  cut_(): void;
  /** Takes an answer; false where nobody waits for it. */
  answer_(answer: Frame): boolean;
  /** Refuses all that waits. */
  fail_(error: RealtimeError): void;
}

export function createOutbox(): Outbox {
  const most = 100;
  const lifetime = 120_000; // ms; as long as the server knows an id again
  const latest = 110_000; // to send it, so that it still arrives

  let entries: Entry[] = [];
  let send: ((text: string) => void) | undefined;
  let pace: RateLimit | undefined; // of the connection
  let size: number;
  let lastRef = 0;

  const kept = (): Entry[] => entries.filter((entry) => entry.timer_);
  const settle = (entry: Entry, error?: RealtimeError, answer?: Frame): void => {
    clearTimeout(entry.timer_);
    entries = entries.filter((other) => other !== entry);
    entry.done_(error, answer);
  };
  const late = (entry: Entry): void => settle(entry, new RealtimeError('unavailable', 'no answer', true));
  const pump = (): void => {
    let entry: Entry | undefined;
    // A listener that is told of a refusal may add operations, or hang up.
    while (send && (entry = entries.find(({ ref_: ref }) => !ref))) {
      const op = (entry.text_ ??= JSON.stringify(entry.make_()));
      const text = `{"ref":${lastRef + 1},${op?.slice(1)}`;
      if (!op) settle(entry);
      // A timer stands still while the machine sleeps, and the server does not.
      else if (now() > entry.until_!) late(entry);
      // A server closes the connection over a frame that is too large, and again each time it is sent.
      else if (new Blob([text]).size > size) settle(entry, new RealtimeError('too_large'));
      else {
        if (!pace!.take_(pump)) return;
        entry.ref_ = ++lastRef;
        send(text);
      }
    }
  };

  return {
    isOpen_: () => !!pace,
    add_(op, done, keep) {
      // Of a function there is no JSON.
      const entry: Entry = { text_: JSON.stringify(op), make_: op as () => object | undefined, done_: done };
      if (keep) {
        if (kept().length >= most) return done(new RealtimeError('too_many', undefined, true));
        entry.until_ = now() + latest;
        entry.timer_ = setTimeout(() => late(entry), lifetime);
      }
      entries.push(entry);
      pump();
    },
    open_(to, limits, first) {
      size = limits.message;
      pace = createRateLimit(limits);
      lastRef = 0;
      const left = entries;
      entries = [];
      first(); // of which nothing is sent yet, or refused
      entries.push(...left);
      send = to;
      pump();
    },
    cut_() {
      send = pace = undefined;
      entries = kept();
      for (const entry of entries) entry.ref_ = undefined;
    },
    answer_(answer) {
      const entry = entries.find(({ ref_: ref }) => ref && ref === answer.ref);
      if (!entry) return false;
      const error = answer.event === 'error' ? asError(answer) : undefined;
      if (error?.retry && !entry.done_.stale_?.()) {
        entry.ref_ = undefined; // again, and nothing before it
        pace!.rest_();
      } else settle(entry, error, answer);
      pump();
      return true;
    },
    fail_(error) {
      for (const entry of entries) settle(entry, error);
    },
  };
}
