import { now } from './clock.js';
import { getOrCreateClientId, stored } from './id.js';
import { watchLife } from './life.js';
import { listen, tell, type Listener } from './listen.js';
import type { ClientOptions } from './options.js';
import type { Group } from './transport.js';

/** `connecting` also while waiting for the next attempt; `closed` only when none will be made. */
export type State = 'connecting' | 'open' | 'closed';

/**
 * What both clients are made of: one connection kept up. It knows when to try again, when to give a silent one up, and what
 * to do as the page comes and goes.
 */
export interface Keeper<Reset> {
  id_: string;
  /** With whom to share connections. */
  share_: Group;
  /** Begins, unless begun. */
  start_(): void;
  /** Ends, until started again. */
  stop_(): void;
  /** Bytes have come. */
  heard_(): void;
  /**
   * The server has said hello.
   * @param retry - bounds the next wait, in milliseconds, where the server says so
   */
  opened_(retry?: number): void;
  /** Whether this connection has lasted long enough to forget the troubles before it. */
  healthy_(): boolean;
  /**
   * The connection is lost or was refused.
   * @param wait - milliseconds to the next attempt, where it is known, else 0
   * @param atLeast - milliseconds on top of the random wait
   */
  lost_(wait?: number, atLeast?: number): void;
  /** Says in the console, once, what may be wrong with the way to the server. */
  suspect_(what: string): void;
  log_(...what: unknown[]): void;
  /** Tells those who listen for errors; where nobody does, the console. */
  report_(error: unknown): void;
  /** Tells those who listen for resets. */
  missed_(reset: Reset): void;
}

/**
 * Gives a client what both have: `state`, `onState`, `onError`, `onReset`, `getClientId`.
 *
 * @param name - stands before what goes to the console
 * @param call - begins one attempt, which ends in {@link Keeper.opened_} or {@link Keeper.lost_}, unless its signal aborts:
 *   then it must not call the keeper any more
 * @param hangUp - drops what the last attempt has led to
 */
export function createKeeper<Reset>(
  client: { state: State }, options: ClientOptions & { onReset?: Listener<Reset> | undefined }, name: string,
  call: (signal: AbortSignal, token: string | undefined) => unknown, hangUp?: () => void,
): Keeper<Reset> {
  const silence = 60_000; // ms after which a connection counts as dead; the server beats every 25 s
  const missed = 30_000; // the same for a page that has been away: a beat is missing
  const look = 10_000; // how often to look, as timers may stand still while the machine sleeps
  const proven = 10_000; // a connection that has lasted so long makes those before it forgotten
  const least = 500;
  const longest = 300_000; // no server may send a client away for longer

  const { clientId: id = getOrCreateClientId(), getToken, onError, onReset, autoReconnect = true, maxBackoffMs = 15_000 } = options;
  const states = new Set<Listener<State>>();
  const errors = new Set(onError && [onError]);
  const resets = new Set(onReset && [onReset]);
  const chatty = options.debug ?? stored('localStorage', 'REN_DEBUG') === '1';
  let tries = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let heardAt = 0;
  let openedAt: number;
  let bound: number | undefined; // of the next wait, by the server's wish
  let asleep = false;
  let warned = false;
  let life: AbortController | undefined; // from start to stop
  let attempt: AbortController | undefined;

  const become = (state: State): void => {
    if (state !== client.state) tell(states, (client.state = state));
  };
  const drop = (): void => {
    clearTimeout(timer);
    attempt?.abort();
    hangUp?.();
  };
  const dial = async (): Promise<void> => {
    asleep = false;
    openedAt = Infinity;
    keeper.heard_();
    become('connecting');
    drop();
    if (!life) return; // a state listener may have stopped us
    timer = setTimeout(watch, look);
    const { signal } = (attempt = new AbortController());
    try {
      const token = await getToken?.();
      if (!signal.aborted) call(signal, token);
    } catch (e) {
      keeper.report_(e);
      if (!signal.aborted) keeper.lost_();
    }
  };
  const watch = (): void => {
    const left = heardAt + silence - now();
    if (left <= 0) return keeper.lost_();
    timer = setTimeout(watch, Math.min(left, look));
    if (client.state !== 'open') keeper.suspect_('no hello: does a proxy buffer?');
  };

  const keeper: Keeper<Reset> = {
    id_: id,
    share_: options.shareTabs ?? !getToken,
    start_() {
      if (life) return;
      life = new AbortController();
      watchLife(
        life.signal,
        () => !asleep && now() - heardAt >= missed && dial(),
        () => {
          // An open connection would outlive the page in the cache, unread.
          asleep = true;
          drop();
          become('connecting');
        },
        () => asleep && dial(),
      );
      void dial();
    },
    stop_() {
      life?.abort();
      life = undefined;
      drop();
      become('closed');
    },
    heard_() {
      heardAt = now();
    },
    opened_(retry) {
      openedAt = now();
      bound = retry;
      become('open');
    },
    healthy_: () => now() - openedAt >= proven,
    lost_(wait, atLeast = 0) {
      if (keeper.healthy_()) tries = 0;
      if (!autoReconnect) return keeper.stop_();
      drop();
      // The bound doubles from one second. Between 500 ms and there, so that clients cut together come back apart.
      const most = bound ?? Math.min(maxBackoffMs, least * 2 ** ++tries);
      bound = undefined;
      heardAt = 0; // whatever wakes the page ends the wait
      timer = setTimeout(dial, Math.min(wait || atLeast + least + Math.random() * Math.max(most - least, 0), longest));
      become('connecting');
    },
    suspect_(what) {
      if (!warned) console.warn(name, what);
      warned = true;
    },
    log_: (...what) => chatty && console.debug(name, ...what),
    report_: (error) => (errors.size ? tell(errors, error as Error) : console.error(name, error)),
    missed_: (reset) => tell(resets, reset),
  };
  Object.assign(client, {
    state: 'closed', onState: listen(states), onError: listen(errors), onReset: listen(resets), getClientId: () => id,
  });
  return keeper;
}
