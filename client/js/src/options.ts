import type { getOrCreateClientId } from './id.js';

/** What both clients can be told. */
export interface ClientOptions {
  /**
   * 16 to 64 characters of `[A-Za-z0-9._-]`, hard to guess, and kept secret from others; the server refuses any other as `bad_request`.
   * Default: {@link getOrCreateClientId}.
   */
  clientId?: string | undefined;
  /** Whether to come back after a connection is lost. Default true. */
  autoReconnect?: boolean | undefined;
  /** The longest random wait between attempts, in milliseconds. Default 15000, at least 500. */
  maxBackoffMs?: number | undefined;
  /** Whether to write what happens to the console. Default: whether `localStorage.REN_DEBUG` is `'1'`. */
  debug?: boolean | undefined;
  /**
   * Gives a bearer token, or none. It is asked for each attempt, and again before the credentials of the open connection expire, where the
   * server says when that is. What it throws is reported once, and it is asked again. Default: cookies only.
   */
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

/** The origin of the page or worker, which its address does not always tell; undefined where there is none, or an opaque one. */
export function ownOrigin(): string | undefined {
  const origin = globalThis.origin ?? globalThis.location?.origin;
  return origin === 'null' ? undefined : origin; // a sandboxed frame, a file
}

/**
 * An address of the page's own server, or elsewhere if absolute: a `<base>` does not move it, so that no foreign one learns
 * the client id.
 *
 * @throws TypeError for a relative address where there is no origin it could be relative to
 */
export function resolve(address: string): URL {
  const origin = ownOrigin();
  // Pages and workers that another page has made (about:srcdoc, blob:) have an address that nothing can be relative to.
  for (const base of [origin && globalThis.location?.href, origin])
    try {
      return new URL(address, base);
    } catch {
      // the next one
    }
  throw TypeError('not absolute: ' + address);
}

/** Whether an address is of the page's own origin; never where there is no page. */
export function sameOrigin(url: URL): boolean {
  return url.origin === ownOrigin();
}
