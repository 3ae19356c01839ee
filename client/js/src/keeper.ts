import { now } from './clock.js';
import { watchLife } from './life.js';
import { tell, type Listener } from './listen.js';
import type { ClientOptions } from './options.js';

/** `connecting` also while waiting for the next attempt; `closed` only when none will be made. */
export type State = 'connecting' | 'open' | 'closed';

/** What a Keeper keeps up. */
export interface Line {
  /** Begins one attempt, which ends in {@link Keeper.opened_} or {@link Keeper.lost_}. */
  dial_(): void;
  /** Drops the connection or the attempt, after which it must not call the keeper any more. */
  hangUp_(): void;
}

/** Keeps one connection up: when to try again, when to give a silent one up, and what to do as the page comes and goes. */
export interface Keeper {
  /** The server's wish for the next wait, in milliseconds. */
  retry_?: number | undefined;
  /** Begins, unless begun. */
  start_(): void;
  /** Ends, until started again. */
  stop_(): void;
  /** Bytes have come. */
  heard_(): void;
  /** The server has said hello. */
  opened_(): void;
  /** Whether this connection has lasted long enough to forget the troubles before it. */
  healthy_(): boolean;
  /**
   * The connection is lost or was refused.
   * @param wait - milliseconds to the next attempt, where it is known
   * @param atLeast - milliseconds on top of the random wait
   */
  lost_(wait?: number, atLeast?: number): void;
}

/**
 * @param client - where the state stands
 * @param states - told when it has changed
 * @param name - stands before what goes to the console
 */
export function createKeeper(
  client: { state: State }, line: Line, states: Set<Listener<State>>, name: string,
  { autoReconnect = true, maxBackoffMs = 15_000 }: ClientOptions,
): Keeper {
  const silence = 60_000; // ms after which a connection counts as dead; the server beats every 25 s
  const missed = 30_000; // the same for a page that has been away: a beat is missing
  const look = 10_000; // how often to look, as timers may stand still while the machine sleeps
  const proven = 10_000; // a connection that has lasted so long makes those before it forgotten
  const least = 500;
  const longest = 300_000; // no server may send a client away for longer

  let tries = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let heardAt = 0;
  let openedAt: number;
  let waiting = false;
  let asleep = false;
  let warned = false;
  let life: AbortController | undefined; // from start to stop

  const later = (cb: () => void, ms: number): void => {
    clearTimeout(timer);
    timer = setTimeout(cb, ms);
  };
  const become = (state: State): void => {
    if (state !== client.state) tell(states, (client.state = state));
  };
  const halt = (state: State): void => {
    clearTimeout(timer);
    line.hangUp_();
    become(state);
  };
  const dial = (): void => {
    waiting = asleep = false;
    openedAt = Infinity;
    keeper.heard_();
    later(watch, look);
    become('connecting');
    line.hangUp_();
    if (life) line.dial_(); // a state listener may have stopped us
  };
  const watch = (): void => {
    const left = silence - (now() - heardAt);
    if (left <= 0) return keeper.lost_();
    later(watch, Math.min(left, look));
    if (client.state === 'open' || warned) return;
    warned = true;
    console.warn(name, 'no hello yet. Does a proxy buffer?');
  };

  const keeper: Keeper = {
    start_() {
      if (life) return;
      life = new AbortController();
      watchLife(
        life.signal,
        () => !asleep && (waiting || now() - heardAt >= missed) && dial(),
        () => {
          // An open connection would outlive the page in the cache, unread.
          asleep = true;
          halt('connecting');
        },
        () => asleep && dial(),
      );
      dial();
    },
    stop_() {
      life?.abort();
      life = undefined;
      halt('closed');
    },
    heard_() {
      heardAt = now();
    },
    opened_() {
      openedAt = now();
      become('open');
    },
    healthy_: () => now() - openedAt >= proven,
    lost_(wait, atLeast = 0) {
      if (keeper.healthy_()) tries = 0;
      if (!autoReconnect) return keeper.stop_();
      line.hangUp_();
      // The bound doubles from one second. Between 500 ms and there, so that clients cut together come back apart.
      const most = keeper.retry_ ?? Math.min(Math.max(maxBackoffMs, least), least * 2 ** ++tries);
      const low = Math.min(least, most);
      keeper.retry_ = undefined;
      waiting = true;
      later(dial, Math.min(wait ?? atLeast + low + Math.random() * (most - low), longest));
      become('connecting');
    },
  };
  return keeper;
}
