import { createBackoff } from './backoff.js';
import { now } from './clock.js';
import { isDenial, RealtimeError } from './errors.js';
import { getOrCreateClientId } from './id.js';
import { watchLife } from './life.js';
import { listen, tell, type Listener } from './listen.js';
import type { ClientOptions } from './options.js';
import { createReports, type Reports } from './reports.js';
import type { Group } from './transport.js';

/** `connecting` also while waiting for the next attempt; `closed` only when none will be made. */
export type State = 'connecting' | 'open' | 'closed';

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
export interface Keeper<Reset> extends Reports<Reset> {
  /** The client id of now: another one where a page that was away finds its own taken. */
  readonly id_: string;
  /** With whom to share connections. */
  share_: Group;
  /** Begins, unless begun. */
  start_(): void;
  /** Ends, until started again; where there is an error, it is told. */
  stop_(error?: unknown): void;
  /** Bytes have come. */
  heard_(): void;
  /**
   * The server has said hello.
   * @param expiresIn - milliseconds until its credentials expire, where they do
   * @param retry - the least wait after this connection, in milliseconds, where the server says so
   */
  opened_(expiresIn: number | undefined, retry?: number): void;
  /** The server has said when the credentials of the open connection expire: in so many milliseconds, or never. */
  expires_(expiresIn: number | undefined): void;
  /** Reports what every attempt may run into: once, until one has succeeded. */
  complain_(error: unknown): void;
  /**
   * The connection is lost or was refused: tries again after a while, unless that is final.
   * @param error - why, where that is known. A refusal without `retry` is final; one for want of credentials is when they have had
   *   their time. Other errors are reported once.
   * @param bye - of a connection that the server has ended in order: see {@link Backoff.wait_}
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
  client: { state: State }, options: ClientOptions & { onReset?: Listener<Reset> | undefined }, name: string, dialer: Dialer,
): Keeper<Reset> {
  const silence = 60_000; // ms after which a connection counts as dead; the server beats every 25 s
  const look = 10_000; // how often to look, as timers may stand still while the machine sleeps
  const late = 5_000; // for a timer that did
  const missed = 30_000; // ms of silence in which a beat is missing
  const hasty = 2_000; // ms for an attempt that may have begun without a network
  const short = 4_000; // ms of life for which credentials are not renewed ahead of time

  const { getToken, autoReconnect = true, maxBackoffMs = 15_000 } = options;
  const id = (): string => options.clientId ?? getOrCreateClientId();
  id(); // before this client hears of the page, so that the id is of now when it does
  const states = new Set<Listener<State>>();
  const reports = createReports(client, options, name);
  const backoff = createBackoff(maxBackoffMs);
  let life: AbortController | undefined; // from start to stop
  let attempt: AbortController | undefined;
  let sent: string | undefined; // the token of the attempt
  let timer: ReturnType<typeof setTimeout> | undefined; // the only one
  let dueAt: number; // when it is to fire
  let heardAt = 0;
  let expiresAt: number;
  let renewAt = Infinity;
  let asleep = false;
  let complained = false;

  const become = (state: State): void => {
    if (state !== client.state) tell(states, (client.state = state));
  };
  const drop = (): void => {
    clearTimeout(timer);
    attempt?.abort();
    dialer.hangUp_?.();
  };
  /** A timer that is late stood still while the machine slept. */
  const noticeSleep = (): void => {
    if (now() - dueAt > late) backoff.woken_();
  };
  const wait = (ms: number, then: () => void): void => {
    clearTimeout(timer);
    dueAt = now() + ms;
    timer = setTimeout(then, ms);
  };
  const watch = (): void => wait(Math.min(heardAt + silence, renewAt, now() + look) - now(), () => {
    if (now() - heardAt >= silence) return keeper.lost_();
    if (client.state !== 'open') keeper.suspect_('no hello: does a proxy buffer?');
    if (now() >= renewAt) void renew();
    watch();
  });
  /** Begins an attempt; with a token that is `renewed`, in the place of the open connection. */
  const dial = async (renewed?: string): Promise<void> => {
    asleep = false;
    noticeSleep();
    backoff.dial_();
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
  /** Gets new credentials before those of the open connection expire. */
  const renew = async (): Promise<void> => {
    const { signal } = attempt!;
    const left = expiresAt - now();
    renewAt = left > short ? now() + left / 2 : Infinity; // once more, unless the server agrees
    try {
      const token = await getToken!();
      if (signal.aborted || !token) return;
      if (dialer.renew_) dialer.renew_(token);
      else if (token !== sent) void dial(token);
    } catch (e) {
      if (!signal.aborted) keeper.complain_(e);
    }
  };

  const keeper: Keeper<Reset> = {
    ...reports,
    get id_() {
      return id();
    },
    share_: options.shareTabs ?? !getToken,
    start_() {
      if (life) return;
      life = new AbortController();
      watchLife(
        life.signal,
        () => !asleep && now() - heardAt >= (client.state === 'open' ? missed : hasty) && dial(),
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
    opened_(expiresIn, retry) {
      backoff.open_(retry);
      complained = false;
      keeper.expires_(expiresIn);
      become('open');
    },
    expires_(ms = 0) {
      expiresAt = now() + ms;
      renewAt = getToken && ms > short ? now() + Math.max(ms / 2, ms - Math.max(ms / 10, 10_000)) : Infinity;
      watch();
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
      noticeSleep();
      const ms = backoff.wait_(denied, bye, atLeast);
      if (!autoReconnect || !ms || (refused && !denied && !error.retry)) return keeper.stop_(error);
      if (error && !refused) keeper.complain_(error);
      if (!life) return; // who was told has stopped us
      drop();
      heardAt = 0; // whatever wakes the page ends the wait
      wait(ms, dial);
      become('connecting');
    },
  };
  Object.assign(client, { state: 'closed', onState: listen(states), getClientId: id });
  return keeper;
}
