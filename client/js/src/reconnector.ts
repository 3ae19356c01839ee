import { now } from './clock.js';
import { isDenial, RealtimeError } from './errors.js';
import { getOrCreateClientId, stored } from './id.js';
import { listen, tell, type Listener } from './listen.js';
import type { ClientOptions } from './options.js';
import { onPage } from './pageLifecycle.js';

// Here and elsewhere: a property whose name ends with an underscore is known to the SDK alone, and the build shortens it.

/** `connecting` also while waiting for the next attempt; `closed` only when none will be made. */
export type State = 'connecting' | 'open' | 'closed';

/** What a reconnector needs of its client. */
export interface Client {
  state: State;
  readonly getClientId: () => string;
}

/** How a client connects, at the reconnector's word. */
export interface Dialer {
  /**
   * Begins one attempt, which must end in {@link Reconnector.opened_} or {@link Reconnector.lost_}. When its signal aborts, it must drop
   * the connection, and no longer call the reconnector. What it throws is passed to {@link Reconnector.lost_}.
   */
  dial_(signal: AbortSignal, token: string | undefined): unknown;
  /** There will be no other attempt, until the client is started again. No listener has been told yet. */
  ended_?(error: unknown): void;
  /** Gives the server a new token for the open connection. Where this is missing, a new token takes a new connection. */
  renew_?(token: string): void;
}

/**
 * What both clients are made of: one connection that is kept up. It decides when to try again, when to give up a silent connection,
 * when to renew credentials, and what to do as the page comes and goes.
 */
export interface Reconnector<Reset> {
  /** Writes to the console, where the `debug` option asks for it. */
  log_(...what: unknown[]): void;
  /** Tells the error listeners; where there are none, the console. */
  report_(error: unknown): void;
  /** The same for errors that every attempt may run into: once, until an attempt has succeeded. */
  complain_(error: unknown): void;
  /** Warns in the console, once, that something may be wrong with the way to the server. */
  suspect_(what: unknown): void;
  /** Tells the reset listeners. */
  missed_(reset: Reset): void;
  /** Begins, unless begun. */
  start_(): void;
  /** Ends, until started again. An error is reported. */
  stop_(error?: unknown): void;
  /** Bytes have come. */
  heard_(): void;
  /**
   * The server has said hello, or accepted new credentials.
   * @param expiresIn - milliseconds until the credentials expire, where they do
   * @param retry - the least wait after this connection, in milliseconds, where the server says so
   */
  opened_(expiresIn: number | undefined, retry?: number): void;
  /**
   * The connection is lost or was refused: tries again after a wait, unless that is final.
   * @param error - why, where that is known. A refusal without `retry` is final; a refusal of the credentials is final after half a
   *   minute of them. Other errors are reported once.
   * @param atLeast - milliseconds on top of the random wait; counts only where it is a number above 0, as a proxy may say what it likes
   * @param bye - the wait that the server's goodbye asks for, 0 where it leaves that to the client; undefined without a goodbye
   */
  lost_(error?: unknown, atLeast?: number, bye?: number): void;
  /**
   * The server has said goodbye.
   * @param reason - why, which may be final
   * @param retryMs - when to come back
   */
  bye_(reason: string | undefined, retryMs: number | undefined): void;
}

/**
 * Makes the reconnector of a client, and gives the client what both have: `state`, `onState`, `onError`, `onReset`, `getClientId`.
 *
 * @param name - stands before what goes to the console
 */
export function createReconnector<Reset>(
  client: Client, options: ClientOptions & { onReset?: Listener<Reset> | undefined }, name: string, dialer: Dialer,
): Reconnector<Reset> {
  // In milliseconds. testdata/backoff.json has the rule of the waits, which all four clients share.
  const least = 500; // of the random waits
  const healthy = 2_000; // a connection that lasts so long makes up for the failures before it
  const patience = 30_000; // for a token that is renewed late
  const longest = 300_000; // no server sends a client away for longer
  const silence = 60_000; // after which a connection counts as dead; the server beats every 25 s
  const look = 10_000; // how often to look, as timers may stand still while the machine sleeps
  const late = 5_000; // for a timer that did
  const missed = 30_000; // of silence, in which a beat is missing
  const hasty = 2_000; // for an attempt that may have begun without a network
  const short = 4_000; // of life left, for which credentials are not renewed ahead of time

  const { getToken, onError, onReset } = options;
  const getClientId = (): string => options.clientId ?? getOrCreateClientId();
  getClientId(); // whose page listeners must run before those of this client, so that the id is up to date then
  const chatty = options.debug ?? stored('localStorage', 'REN_DEBUG') === '1';
  const states = new Set<Listener<State>>();
  const errors = new Set(onError && [onError]);
  const resets = new Set(onReset && [onReset]);
  let life: AbortController | undefined; // from start to stop
  let attempt: AbortController | undefined; // and the connection it leads to
  let tries = 0; // that failed in a row
  let openedAt: number | undefined; // when the server said hello
  let proven: boolean; // the connection before this one had lasted long enough
  let heardAt: number; // bytes; -Infinity while nothing is attempted
  let floor: number; // the least wait after this connection
  let timer: ReturnType<typeof setTimeout> | undefined; // the only one
  let dueAt: number; // when it is to fire
  let sent: string | undefined; // the token of the attempt
  let expiresAt: number; // the credentials
  let renewAt: number;
  let deniedUntil = 0; // when to give up, as credentials are refused; 0 where they are not
  let complained: boolean | undefined;
  let warned: boolean | undefined;

  const become = (state: State): void => {
    if (state !== client.state) tell(states, (client.state = state));
  };
  const drop = (): void => {
    clearTimeout(timer);
    if (now() - dueAt > late) deniedUntil = 0; // the machine slept: the time for credentials begins again
    proven = now() - openedAt! >= healthy;
    if (proven) tries = 0; // whatever ends it: the page may go, or another stream take its place
    openedAt = undefined;
    attempt?.abort();
    heardAt = -Infinity; // an event that wakes the page ends the wait for another attempt
  };
  const wait = (until: number, then: () => void): void => {
    clearTimeout(timer);
    dueAt = until;
    timer = setTimeout(then, until - now());
  };
  /** Looks after an attempt and its connection. */
  const watch = (): void => wait(Math.min(heardAt + silence, renewAt, now() + look), async () => {
    if (now() - heardAt >= silence) return self.lost_(!openedAt && Error('no answer'));
    if (!openedAt) self.suspect_('late: proxy?');
    if (now() < renewAt) return watch();
    // Gets new credentials before those of the open connection expire.
    const { signal } = attempt!;
    renewIn((expiresAt - now()) / 2); // once more, unless the server agrees
    watch();
    try {
      const token = await getToken?.();
      if (signal.aborted || !token) return;
      if (dialer.renew_) dialer.renew_(token);
      else if (token !== sent) void dial(token);
    } catch (e) {
      if (!signal.aborted) self.complain_(e || Error('no token'));
    }
  });
  const renewIn = (ms: number): void => {
    renewAt = expiresAt - now() > short ? now() + ms : Infinity;
  };
  /** Begins an attempt; with a token that is `renewed`, in the place of the open connection. */
  const dial = async (renewed?: string): Promise<void> => {
    drop();
    renewAt = Infinity;
    floor = 0;
    self.heard_();
    watch();
    const { signal } = (attempt = new AbortController());
    if (!renewed) become('connecting'); // a listener may stop us, and with that this attempt
    try {
      // What awaits gives the maker of the client time to add error listeners.
      sent = (await renewed) ?? (await getToken?.());
      if (!signal.aborted) await dialer.dial_(signal, sent);
    } catch (e) {
      if (!signal.aborted) self.lost_(e || Error('no token'));
    }
  };
  const self: Reconnector<Reset> = {
    log_(...what) {
      if (chatty) console.debug(name, ...what);
    },
    report_: (error) => (errors.size ? tell(errors, error as Error) : console.error(name, error)),
    complain_(error) {
      if (complained) return;
      complained = true;
      self.report_(error);
    },
    suspect_(what) {
      if (!warned) console.warn(name, what);
      warned = true;
    },
    missed_: (reset) => tell(resets, reset),
    start_() {
      if (life) return;
      life = new AbortController();
      let leaving = false; // until the page is hidden, or shown
      /** The network came back, or the page did. */
      const wake = (): void => {
        if (!leaving && now() - heardAt >= (openedAt ? missed : hasty)) void dial();
      };
      /** The page goes away: into the back/forward cache, or for good, or is frozen where it is. */
      const hide = (): void => {
        // In the cache, an open connection would outlive the page, unread.
        drop();
        become('connecting');
      };
      onPage({
        online: wake,
        pagehide() {
          leaving = true; // what it is told now, such as that it is visible, is nothing to wake for
          hide();
        },
        pageshow() {
          leaving = false;
          wake();
        },
        visibilitychange() {
          // A page that is looked at has its connection, whatever it has been told before.
          if (document.hidden) leaving = false;
          else wake();
        },
        freeze: hide,
        resume: wake,
      }, life.signal);
      void dial();
    },
    stop_(error) {
      life?.abort();
      life = undefined;
      drop();
      dialer.ended_?.(error);
      become('closed'); // a listener may start us
      if (error) self.report_(error);
    },
    heard_() {
      heardAt = now();
    },
    opened_(ms = 0, retry = 0) {
      openedAt ??= now();
      floor = retry;
      deniedUntil = 0;
      complained = false;
      expiresAt = now() + ms;
      renewIn(Math.max(ms / 2, ms - Math.max(ms / 10, 10_000)));
      watch();
      become('open');
    },
    bye_(reason, retryMs = 0) {
      const code = reason === 'revoked' ? 'forbidden' : reason!;
      self.lost_(code === 'forbidden' || isDenial(code) ? new RealtimeError(code, reason) : undefined, 0, retryMs);
    },
    lost_(error, atLeast, bye) {
      drop();
      // Between the least and a growing bound, so that clients that were cut together come back apart. An option
      // that is NaN, as a setting may be that is not there, would be no wait at all.
      let ms = (Math.min(Math.max(options.maxBackoffMs!, least) || 15_000, 1_000 * 1.5 ** tries++) - least) * Math.random() + least;
      const refused = error instanceof RealtimeError;
      const denied = refused && isDenial(error.code);
      const left = (deniedUntil ||= denied ? now() + patience : 0) - now();
      if (left > 0) ms = Math.min(ms, left); // one attempt comes when the time is over
      else deniedUntil = 0; // it begins again with a restart; and where there was no network, there was no such time
      ms = Math.min((proven && bye) || Math.max(bye ?? floor, atLeast! > 0 ? ms + atLeast! : ms), longest);
      if (options.autoReconnect === false || (denied ? left <= 0 : refused && !error.retry)) return self.stop_(error);
      wait(now() + ms, dial);
      become('connecting');
      if (error && !refused) self.complain_(error); // last, as a listener may stop us
    },
  };
  Object.assign(client, { state: 'closed', getClientId, onState: listen(states), onError: listen(errors), onReset: listen(resets) });
  return self;
}
