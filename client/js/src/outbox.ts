import { now } from './clock.js';
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
  /** Operations of one lane are sent one at a time. */
  lane: string | undefined;
  /** When it is too late to send it; undefined for what is about the connection, and ends with it. */
  until: number | undefined;
  ref?: number;
  timer?: ReturnType<typeof setTimeout>;
}

const lifetime = 120_000; // as long as the server knows an id again
const travel = 10_000; // for the last one sent to arrive

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

  /** Whether there is a connection. */
  get open(): boolean {
    return !!this.#send;
  }

  /** How many kept operations wait for an answer. */
  get kept(): number {
    return this.#entries.filter(kept).length;
  }

  /** Adds an operation that outlives the connection. It is refused as `unavailable` after two minutes without an answer. */
  keep(op: object, done: Done): void {
    const entry: Entry = { text: JSON.stringify(op), done, lane: undefined, until: now() + lifetime - travel };
    entry.timer = setTimeout(() => this.#settle(entry, late()), lifetime);
    this.#push(entry);
  }

  /** Adds an operation of the connection, which is forgotten with it. It waits for the answers to those before it in its lane. */
  add(op: object, lane: string, done: Done): void {
    this.#push({ text: JSON.stringify(op), done, lane, until: undefined });
  }

  /** A connection is open. What `first` adds goes before what is left of the connection before it. */
  begin(send: (text: string) => void, limits: Partial<Limits> | undefined, first: () => void): void {
    this.#limits = { ...this.#limits, ...limits };
    this.#tokens = this.#burst;
    this.#filled = now();
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
    this.#entries = this.#entries.filter(kept);
    for (const entry of this.#entries) delete entry.ref;
  }

  /** Takes an answer; false where nobody waits for it. */
  answer(answer: Answer): boolean {
    const entry = this.#entries.find(({ ref }) => ref !== undefined && ref === answer.ref);
    if (!entry) return false;
    const error = answer.event === 'error' ? asError(answer, 'internal', 'refused', false) : undefined;
    if (error && (error.code === 'rate_limited' || (error.retry && !kept(entry)))) this.#again(entry);
    else {
      this.#settle(entry, error, answer);
      this.#pump(); // its lane is free
    }
    return true;
  }

  /** Refuses all that waits. */
  fail(error: RealtimeError): void {
    for (const entry of [...this.#entries]) this.#settle(entry, error);
  }

  #push(entry: Entry): void {
    this.#entries.push(entry);
    this.#pump();
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
    this.#filled = now();
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
    const time = now();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((time - this.#filled) / 1000) * this.#rate);
    this.#filled = time;
    // Whoever is told of a refusal may add operations, or hang up.
    for (let entry = this.#next(); entry; entry = this.#next()) {
      if (this.#tokens < 1) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#pump(), Math.ceil(((1 - this.#tokens) / this.#rate) * 1000));
        return;
      }
      this.#put(entry);
    }
  }

  #next(): Entry | undefined {
    if (!this.#send) return undefined;
    const busy = new Set<string | undefined>();
    for (const entry of this.#entries) {
      const { lane, ref } = entry;
      if (ref === undefined && !(lane && busy.has(lane))) return entry;
      busy.add(lane);
    }
    return undefined;
  }

  #put(entry: Entry): void {
    // A timer stands still while the machine sleeps, and the server does not.
    if (kept(entry) && now() > entry.until!) return this.#settle(entry, late());
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

function kept({ until }: Entry): boolean {
  return until !== undefined;
}

function late(): RealtimeError {
  return new RealtimeError('unavailable', 'no answer within two minutes', true);
}
