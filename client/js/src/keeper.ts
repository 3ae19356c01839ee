import { bound, spread } from './backoff.js';
import { now } from './clock.js';
import { watchLife } from './life.js';
import { tell, type Listener } from './listen.js';

/** `connecting` also while waiting for the next attempt; `closed` only when none will be made. */
export type State = 'connecting' | 'open' | 'closed';

const silence = 60_000; // the server beats every 25 s
const healthy = 10_000;
const longest = 300_000; // no server may send a client away for longer

/** What a Keeper keeps up. */
export interface Line {
  /** Begins one attempt, which ends in {@link Keeper.opened} or {@link Keeper.lost}. */
  dial(): void;
  /** Drops the connection or the attempt, after which it must not call the keeper any more. */
  hangUp(): void;
}

/** Keeps one connection up: when to try again, when to give a silent one up, and what to do as the page comes and goes. */
export class Keeper {
  state: State = 'closed';
  readonly states: Set<Listener<State>> = new Set();
  /** The server's wish for the next wait, in milliseconds. */
  retry: number | undefined;

  #line: Line;
  #max: number;
  #again: boolean;
  #tries = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heard = 0;
  #openedAt = 0;
  #waiting = false;
  #asleep = false;
  #unwatch: (() => void) | undefined;

  constructor(line: Line, max: number, again: boolean) {
    this.#line = line;
    this.#max = max;
    this.#again = again;
  }

  /** Begins, unless begun. */
  start(): void {
    if (this.#unwatch) return;
    this.#unwatch = watchLife({
      wake: () => this.#wake(),
      hide: () => this.#hide(),
      show: () => this.#asleep && this.#dial(),
    });
    this.#dial();
  }

  /** Ends, until started again. */
  stop(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    this.#asleep = false;
    clearTimeout(this.#timer);
    this.#line.hangUp();
    this.#set('closed');
  }

  /** Bytes have come. */
  heard(): void {
    this.#heard = now();
  }

  /** The server has said hello. */
  opened(): void {
    this.#openedAt = now();
    this.#set('open');
  }

  /** Whether this connection has lasted long enough to forget the troubles before it. */
  get healthy(): boolean {
    return this.#openedAt > 0 && now() - this.#openedAt >= healthy;
  }

  /**
   * The connection is lost or was refused.
   * @param wait - milliseconds to the next attempt, where the server has said
   * @param atLeast - milliseconds on top of the random wait
   */
  lost(wait?: number, atLeast = 0): void {
    if (this.healthy) this.#tries = 0;
    if (!this.#again) return this.stop();
    this.#line.hangUp();
    this.#tries++;
    wait ??= atLeast + spread(Math.min(this.retry ?? bound(this.#tries, this.#max), longest));
    this.retry = undefined;
    this.#waiting = true;
    this.#later(() => this.#dial(), Math.min(wait, longest));
    this.#set('connecting');
  }

  #dial(): void {
    this.#waiting = this.#asleep = false;
    this.#openedAt = 0;
    this.heard();
    this.#later(() => this.#watch(), silence);
    this.#set('connecting');
    this.#line.hangUp();
    if (this.#unwatch) this.#line.dial(); // a state listener may have stopped us
  }

  #watch(): void {
    const quiet = now() - this.#heard;
    if (quiet >= silence) this.lost();
    else this.#later(() => this.#watch(), silence - quiet);
  }

  #wake(): void {
    if (this.#asleep || !(this.#waiting || now() - this.#heard >= silence)) return;
    this.#dial();
  }

  #hide(): void {
    // An open connection would outlive the page in the cache, unread.
    if (this.healthy) this.#tries = 0;
    this.#asleep = true;
    clearTimeout(this.#timer);
    this.#line.hangUp();
    this.#set('connecting');
  }

  #later(cb: () => void, ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(cb, ms);
  }

  #set(state: State): void {
    if (state === this.state) return;
    this.state = state;
    tell(this.states, state);
  }
}
