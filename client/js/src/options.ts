import { getOrCreateClientId, stored } from './id.js';
import { createKeeper, type Keeper, type Line, type State } from './keeper.js';
import { listen, tell, type Listener } from './listen.js';
import type { Group } from './transport.js';

/** What both clients can be told. */
export interface ClientOptions {
  /** 16 to 64 characters of `[A-Za-z0-9._-]`, kept secret from others. Default: {@link getOrCreateClientId}. */
  clientId?: string | undefined;
  /** Whether to come back after a connection is lost. Default true. */
  autoReconnect?: boolean | undefined;
  /** The longest random wait between attempts, in milliseconds. Default 15000, at least 500. */
  maxBackoffMs?: number | undefined;
  /** Whether to write what happens to the console. Default: whether `localStorage.REN_DEBUG` is `'1'`. */
  debug?: boolean | undefined;
  /** Gives a bearer token, asked anew for each attempt. Default: cookies only. */
  getToken?: (() => string | undefined | Promise<string | undefined>) | undefined;
  /**
   * Whether the tabs of a browser share one connection, once `shareTabs()` has been called; the bundle `realtime.js` calls it.
   * They do if the server takes them for the same user. Default: true, but false with `getToken`, as two tokens of one user may
   * not give the same rights. A string shares with those clients only that give the same one, with tokens as well.
   */
  shareTabs?: boolean | string | undefined;
  /** Called with each refusal that concerns nobody else; the same as `onError()`. Where nobody listens they go to the console. */
  onError?: ((error: Error) => void) | undefined;
}

/** What both clients have, beside the methods that {@link equip} gives them. */
export interface Equipment<Reset> {
  id: string;
  /** With whom to share connections. */
  share_: Group;
  keeper_: Keeper;
  /** Asks for a token; rejects, after reporting it, where there is none to be had. */
  token_: () => Promise<string | undefined>;
  log_: (...what: unknown[]) => void;
  /** Tells those who listen for errors; where nobody does, the console. */
  report_: (error: Error) => void;
  /** Tells those who listen for resets. */
  missed_: (reset: Reset) => void;
}

/** Fills the defaults in, and gives a client what both have; `name` stands before what is logged. */
export function equip<Reset>(
  client: { state: State }, options: ClientOptions & { onReset?: Listener<Reset> | undefined }, name: string, line: Line,
): Equipment<Reset> {
  const { clientId, getToken, shareTabs = !getToken, debug, onError, onReset } = options;
  const states = new Set<Listener<State>>();
  const errors = new Set<Listener<Error>>();
  const resets = new Set<Listener<Reset>>();
  const id = clientId ?? getOrCreateClientId();
  const report = (error: Error): void => (errors.size ? tell(errors, error) : console.error(name, error));
  const chatty = debug ?? stored('localStorage', 'REN_DEBUG') === '1';
  Object.assign(client, {
    state: 'closed', onState: listen(states), onError: listen(errors), onReset: listen(resets), getClientId: () => id,
  });
  if (onError) errors.add(onError);
  if (onReset) resets.add(onReset);
  const keeper = createKeeper(client, line, states, name, options);
  return {
    id,
    share_: shareTabs,
    keeper_: keeper,
    async token_() {
      try {
        return await getToken?.();
      } catch (e) {
        report(e as Error);
        throw e;
      }
    },
    log_: (...what) => chatty && console.debug(name, ...what),
    report_: report,
    missed_: (reset) => tell(resets, reset),
  };
}

/**
 * An address of the page's own server, or elsewhere if absolute: a `<base>` does not move it, so that no foreign one learns
 * the client id.
 * @throws TypeError for a relative address where there is no page it could be relative to
 */
export function resolve(endpoint: string): URL {
  return new URL(endpoint, globalThis.location?.href);
}

/** Whether an address is of the page's own origin; never where there is no page. */
export function sameOrigin(url: URL): boolean {
  return url.origin === globalThis.location?.origin;
}
