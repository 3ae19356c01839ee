import { asError, RealtimeError } from './errors.js';

/** What a server answers to one operation. */
export interface Answer {
  event: string;
  ref?: number;
  state?: string;
  reason?: string;
  cursor?: string;
}

/** How fast and how large a server lets a client speak; see the hello in docs/protocol.md. */
export interface Limits {
  message: number;
  rate: number;
  burst: number;
}

/** Called once, with the answer or the refusal. */
export type Done = (error: RealtimeError | undefined, answer?: Answer) => void;

interface Entry {
  text: string;
  done: Done;
  keep: boolean;
  ref?: number;
  timer?: ReturnType<typeof setTimeout>;
}

const lifetime = 120_000; // as long as the server knows an id again

/**
 * The operations that have no answer yet, in order. Kept ones outlive the connection and are sent again on the next; the
 * others are about the connection itself. It speaks no faster than the server has said, so that what is sent is not refused.
 */
export class Outbox {
  #entries: Entry[] = [];
  #send: ((text: string) => void) | undefined;
  #limits: Limits = { message: Infinity, rate: 30, burst: 60 };
  #ref = 0;
  #tokens = 0;
  #filled = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** How many kept operations wait for an answer. */
  get kept(): number {
    return this.#entries.filter((entry) => entry.keep).length;
  }

  /** Adds an operation. A kept one is refused as `unavailable` after two minutes without an answer. */
  add(op: object, keep: boolean, done: Done): void {
    const entry: Entry = { text: JSON.stringify(op), done, keep };
    if (keep) {
      const late = new RealtimeError('unavailable', 'no answer within two minutes', true);
      entry.timer = setTimeout(() => this.#settle(entry, late), lifetime);
    }
    this.#entries.push(entry);
    this.#pump();
  }

  /** A connection is open. What `first` adds goes before what is left of the connection before it. */
  open(send: (text: string) => void, limits: Partial<Limits> | undefined, first: () => void): void {
    this.#limits = { ...this.#limits, ...limits };
    this.#tokens = this.#burst;
    this.#filled = Date.now();
    this.#ref = 0;
    this.#send = send;
    const left = this.#entries;
    this.#entries = [];
    first();
    this.#entries.push(...left);
    this.#pump();
  }

  /** The connection is gone. */
  cut(): void {
    this.#send = undefined;
    clearTimeout(this.#timer);
    this.#entries = this.#entries.filter((entry) => entry.keep);
    for (const entry of this.#entries) delete entry.ref;
  }

  /** Takes an answer; false where nobody waits for it. */
  answer(answer: Answer): boolean {
    const entry = this.#entries.find(({ ref }) => ref !== undefined && ref === answer.ref);
    if (!entry) return false;
    const error = answer.event === 'error' ? asError(answer, 'internal', 'refused', false) : undefined;
    if (error && (error.code === 'rate_limited' || (error.retry && !entry.keep))) this.#again(entry);
    else this.#settle(entry, error, answer);
    return true;
  }

  /** Refuses all that waits. */
  fail(error: RealtimeError): void {
    for (const entry of [...this.#entries]) this.#settle(entry, error);
  }

  #settle(entry: Entry, error: RealtimeError | undefined, answer?: Answer): void {
    clearTimeout(entry.timer);
    this.#entries = this.#entries.filter((other) => other !== entry);
    entry.done(error, answer);
  }

  /** Sends an entry again, and nothing before it, in a second or two. */
  #again(entry: Entry): void {
    delete entry.ref;
    this.#tokens = Math.min(this.#tokens, -this.#rate * (1 + Math.random()));
    this.#filled = Date.now();
    this.#pump();
  }

  // A little less than allowed, since the network can push together what was sent apart.
  get #rate(): number {
    return Math.max(this.#limits.rate * 0.9, 0.1);
  }

  get #burst(): number {
    return Math.max(this.#limits.burst * 0.8, 1);
  }

  #pump(): void {
    clearTimeout(this.#timer);
    if (!this.#send) return;
    const now = Date.now();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#filled) / 1000) * this.#rate);
    this.#filled = now;
    for (const entry of this.#entries.filter(({ ref }) => ref === undefined)) {
      if (this.#tokens < 1) {
        this.#timer = setTimeout(() => this.#pump(), Math.ceil(((1 - this.#tokens) / this.#rate) * 1000));
        return;
      }
      this.#put(entry);
    }
  }

  #put(entry: Entry): void {
    const ref = this.#ref + 1;
    const text = `{"ref":${ref},${entry.text.slice(1)}`;
    const { message } = this.#limits;
    // A server closes the connection over a frame that is too large, and again each time it is sent.
    if (text.length * 3 > message && new TextEncoder().encode(text).length > message) {
      return this.#settle(entry, new RealtimeError('too_large', `larger than ${message} bytes`));
    }
    this.#tokens--;
    this.#ref = entry.ref = ref;
    this.#send?.(text);
  }
}
