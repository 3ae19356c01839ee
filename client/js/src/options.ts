import { getOrCreateClientId, read } from './id.js';

/** What both clients can be told. */
export interface ClientOptions {
  /** 16 to 64 characters of `[A-Za-z0-9._-]`, kept secret from others. Default: {@link getOrCreateClientId}. */
  clientId?: string;
  /** Whether to come back after a connection is lost. Default true. */
  autoReconnect?: boolean;
  /** The longest random wait between attempts, in milliseconds. Default 15000. */
  maxBackoffMs?: number;
  /** Whether to write what happens to the console. Default: whether `localStorage.REN_DEBUG` is `'1'`. */
  debug?: boolean;
  /** Gives a bearer token, asked anew for each attempt. Default: cookies only. */
  getToken?: () => string | undefined | Promise<string | undefined>;
  /** Called with each refusal that concerns nobody else; the same as `onError()`. */
  onError?: (error: Error) => void;
}

/** The options with their defaults. */
export interface Settings {
  id: string;
  again: boolean;
  max: number;
  token: () => string | undefined | Promise<string | undefined>;
  log: (...what: unknown[]) => void;
}

/** Fills the defaults in; `name` stands before what is logged. */
export function settings(o: ClientOptions, name: string): Settings {
  return {
    id: o.clientId ?? getOrCreateClientId(),
    again: o.autoReconnect ?? true,
    max: o.maxBackoffMs ?? 15_000,
    token: () => o.getToken?.(),
    log: (o.debug ?? read('localStorage', 'REN_DEBUG') === '1') ? (...what) => console.debug(name, ...what) : () => {},
  };
}

/** @throws TypeError for a relative address where there is no page it could be relative to */
export function resolve(endpoint: string): URL {
  return new URL(endpoint, globalThis.location?.href);
}

/** Whether an address is of the page's own origin; never where there is no page. */
export function sameOrigin(url: URL): boolean {
  return url.origin === globalThis.location?.origin;
}
