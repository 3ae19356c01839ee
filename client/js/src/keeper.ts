import { now } from './clock.js';
import { isDenial, RealtimeError } from './errors.js';
import { getOrCreateClientId, stored } from './id.js';
import { on } from './life.js';
import { listen, tell, type Listener } from './listen.js';
import type { ClientOptions } from './options.js';

/** `connecting` also while waiting for the next attempt; `closed` only when none will be made. */
export type State = 'connecting' | 'open' | 'closed';

/** What a keeper needs of its client. */
export interface Client {
  state: State;
  readonly getClientId: () => string;
}

/** What a client does on its connection, at the keeper's word. */
export interface Dialer {
  /**
   * Begins one attempt, which ends in {@link Keeper.opened_} or {@link Keeper.lost_}, unless its signal aborts: then it must not
   * call the keeper any more. What it throws is how the attempt ended.
   */
  dial_(signal: AbortSignal, token: string | undefined): unknown;
  /** Drops what the last attempt has led to. */
  hangUp_?(): void;
  /** There will be no other attempt, until the client is started again. */
  ended_?(error: unknown): void;
  /** Has the server take a new token for the open connection. Where this is missing, that takes another connection. */
  renew_?(token: string): void;
}

/**
 * What both clients are made of: one connection kept up. It knows when to try again, when to give a silent one up, when to renew
 * credentials, and what to do as the page comes and goes.
 */
export interface Keeper<Reset> {
  /** To the console, if it is to be told. */
  log_(...what: unknown[]): void;
  /** Tells those who listen for errors; where nobody does, the console. */
  report_(error: unknown): void;
  /** Says in the console, once, what may be wrong with the way to the server. */
  suspect_(what: string): void;
  /** Tells those who listen for resets. */
  missed_(reset: Reset): void;
  /** Begins, unless begun. */
  start_(): void;
  /** Ends, until started again; where there is an error, it is told. */
  stop_(error?: unknown): void;
  /** Bytes have come. */
  heard_(): void;
  /**
   * The server has said hello, or taken new credentials.
   * @param expiresIn - milliseconds until its credentials expire, where they do
   * @param retry - the least wait after this connection, in milliseconds, where the server says so
   */
  opened_(expiresIn: number | undefined, retry?: number): void;
  /** Reports what every attempt may run into: once, until one has succeeded. */
  complain_(error: unknown): void;
  /**
   * The connection is lost or was refused: tries again after a while, unless that is final.
   * @param error - why, where that is known. A refusal without `retry` is final; one for want of credentials is when they have had
   *   their time. Other errors are reported once.
   * @param bye - the wait that the server's goodbye has asked for, 0 where it leaves that to the client; undefined without a goodbye
   * @param atLeast - milliseconds on top of the random wait
   */
  lost_(error?: unknown, bye?: number, atLeast?: number): void;
  /**
   * The server has said goodbye.
   * @param reason - why, which may be final
   * @param retryMs - when to come back
   */
  bye_(reason: string | undefined, retryMs: number | undefined): void;
}

/**
 * Gives a client what both have: `state`, `onState`, `onError`, `onReset`, `getClientId`.
 *
 * @param name - stands before what goes to the console
 */
export function createKeeper<Reset>(
  client: Client, options: ClientOptions & { onReset?: Listener<Reset> | undefined }, name: string, dialer: Dialer,
): Keeper<Reset> {
  const least = 500; // ms, of the random waits; the rule of testdata/backoff.json, which all four clients have in common
  const healthy = 2_000; // ms; a connection that lasts so long makes up for the troubles before it
  const patience = 30_000; // ms; a token may be renewed late
  const longest = 300_000; // ms; no server sends a client away for longer
  const silence = 60_000; // ms after which a connection counts as dead; the server beats every 25 s
  const look = 10_000; // how often to look, as timers may stand still while the machine sleeps
  const late = 5_000; // for a timer that did
  const missed = 30_000; // ms of silence in which a beat is missing
  const hasty = 2_000; // ms for an attempt that may have begun without a network
  const short = 4_000; // ms of life for which credentials are not renewed ahead of time

  const { getToken, autoReconnect = true, maxBackoffMs = 15_000, onError, onReset } = options;
  const getClientId = (): string => options.clientId ?? getOrCreateClientId();
  getClientId(); // before this client hears of the page, so that the id is of now when it does
  const chatty = options.debug ?? stored('localStorage', 'REN_DEBUG') === '1';
  const states = new Set<Listener<State>>();
  const errors = new Set(onError && [onError]);
  const resets = new Set(onReset && [onReset]);
  let tries = 0; // that failed in a row
  let openedAt: number; // of the connection there is
  let floor: number; // of the next wait, by the stream's wish
  let deniedAt: number | undefined; // since when credentials are refused
  let life: AbortController | undefined; // from start to stop
  let attempt: AbortController | undefined;
  let sent: string | undefined; // the token of the attempt
  let timer: ReturnType<typeof setTimeout> | undefined; // the only one
  let dueAt: number; // when it is to fire
  let heardAt: number;
  let expiresAt: number;
  let renewAt: number;
  let asleep: boolean;
  let warned: boolean | undefined;
  let complained: boolean | undefined;

  const become = (state: State): void => {
    if (state !== client.state) tell(states, (client.state = state));
  };
  const drop = (): void => {
    if (now() - dueAt > late) deniedAt = undefined; // the timer stood still while the machine slept
    clearTimeout(timer);
    attempt?.abort();
    dialer.hangUp_?.();
  };
  const wait = (ms: number, then: () => void): void => {
    clearTimeout(timer);
    dueAt = now() + ms;
    timer = setTimeout(then, ms);
  };
  const watch = (): void => wait(Math.min(heardAt + silence, renewAt, now() + look) - now(), async () => {
    if (now() - heardAt >= silence) return keeper.lost_();
    if (client.state !== 'open') keeper.suspect_('no hello: does a proxy buffer?');
    if (now() < renewAt) return watch();
    // Gets new credentials before those of the open connection expire.
    const { signal } = attempt!;
    const left = expiresAt - now();
    renewAt = left > short ? now() + left / 2 : Infinity; // once more, unless the server agrees
    watch();
    try {
      const token = await getToken!();
      if (signal.aborted || !token) return;
      if (dialer.renew_) dialer.renew_(token);
      else if (token !== sent) void dial(token);
    } catch (e) {
      if (!signal.aborted) keeper.complain_(e);
    }
  });
  /** Begins an attempt; with a token that is `renewed`, in the place of the open connection. */
  const dial = async (renewed?: string): Promise<void> => {
    asleep = false;
    openedAt = Infinity;
    floor = 0;
    keeper.heard_();
    if (!renewed) become('connecting');
    drop();
    if (!life) return; // a state listener may have stopped us
    renewAt = Infinity;
    watch();
    const { signal } = (attempt = new AbortController());
    try {
      await undefined; // whoever makes the client listens for errors only then
      sent = (renewed ?? (await getToken?.())) || undefined;
      if (!signal.aborted) await dialer.dial_(signal, sent);
    } catch (e) {
      if (!signal.aborted) keeper.lost_(e);
    }
  };

  const keeper: Keeper<Reset> = {
    log_: (...what) => chatty && console.debug(name, ...what),
    report_: (error) => (errors.size ? tell(errors, error as Error) : console.error(name, error)),
    suspect_(what) {
      if (!warned) console.warn(name, what);
      warned = true;
    },
    missed_: (reset) => tell(resets, reset),
    start_() {
      if (life) return;
      life = new AbortController();
      const { signal } = life;
      let leaving = false; // a page that is left is still to be hidden
      /** The network came back, or the page is being looked at again. */
      const wake = (): unknown => !asleep && now() - heardAt >= (client.state === 'open' ? missed : hasty) && dial();
      /** The page goes away: into the back/forward cache, or for good, or is frozen where it is. */
      const hide = (): void => {
        // An open connection would outlive the page in the cache, unread.
        asleep = true;
        drop();
        become('connecting');
      };
      /** The page is shown: for the first time, or again; or it goes on. */
      const show = (): unknown => asleep && dial();
      on('online', wake, signal);
      on('pagehide', () => {
        leaving = true;
        hide();
      }, signal);
      on('pageshow', show, signal);
      on('visibilitychange', () => {
        if (document.hidden) leaving = false;
        else if (!leaving) {
          // A page that is looked at lives, whatever it has been told before.
          void show();
          wake();
        }
      }, signal);
      on('freeze', hide, signal);
      on('resume', show, signal);
      void dial();
    },
    stop_(error) {
      life?.abort();
      life = undefined;
      drop();
      become('closed');
      dialer.ended_?.(error);
      if (error) keeper.report_(error);
    },
    heard_() {
      heardAt = now();
    },
    opened_(ms = 0, retry = floor) {
      openedAt = Math.min(openedAt, now());
      floor = retry;
      deniedAt = undefined;
      complained = false;
      expiresAt = now() + ms;
      renewAt = getToken && ms > short ? now() + Math.max(ms / 2, ms - Math.max(ms / 10, 10_000)) : Infinity;
      watch();
      become('open');
    },
    bye_(reason, retryMs = 0) {
      const code = reason === 'revoked' ? 'forbidden' : reason!;
      keeper.lost_(code === 'forbidden' || isDenial(code) ? new RealtimeError(code, reason) : undefined, retryMs);
    },
    complain_(error) {
      if (!complained) keeper.report_(error);
      complained = true;
    },
    lost_(error, bye, atLeast = 0) {
      const refused = error instanceof RealtimeError;
      const denied = refused && isDenial(error.code);
      drop();
      const proven = now() - openedAt >= healthy;
      if (proven) tries = 0;
      // Between the least and a growing bound, so that clients that were cut together come back apart.
      let ms = least + Math.random() * Math.max(Math.min(maxBackoffMs, 1_000 * 1.5 ** tries++) - least, 0);
      if (denied) deniedAt ??= now();
      const left = deniedAt! + patience - now(); // NaN where nothing was denied
      if (left > 0) ms = Math.min(ms, left); // one attempt comes when the time is over
      else deniedAt = undefined; // whoever is told may start again; and without a network nobody has had that time
      ms = Math.min((proven && bye) || Math.max(ms, bye ?? floor) + atLeast, longest);
      if (!autoReconnect || (denied && !(left > 0)) || (refused && !denied && !error.retry)) return keeper.stop_(error);
      if (error && !refused) keeper.complain_(error);
      if (!life) return; // who was told has stopped us
      heardAt = 0; // whatever wakes the page ends the wait
      wait(ms, dial);
      become('connecting');
    },
  };
  Object.assign(client, { state: 'closed', getClientId, onState: listen(states), onError: listen(errors), onReset: listen(resets) });
  return keeper;
}
