import { type Listener } from './listen.js';
/** What both clients can be told. */
export interface ClientOptions {
    /** 16 to 64 characters of `[A-Za-z0-9._-]`, kept secret from others. Default: {@link getOrCreateClientId}. */
    clientId?: string | undefined;
    /** Whether to come back after a connection is lost. Default true. */
    autoReconnect?: boolean | undefined;
    /** The longest random wait between attempts, in milliseconds. Default 15000. */
    maxBackoffMs?: number | undefined;
    /** Whether to write what happens to the console. Default: whether `localStorage.REN_DEBUG` is `'1'`. */
    debug?: boolean | undefined;
    /** Gives a bearer token, asked anew for each attempt. Default: cookies only. */
    getToken?: (() => string | undefined | Promise<string | undefined>) | undefined;
    /** Called with each refusal that concerns nobody else; the same as `onError()`. Where nobody listens they go to the console. */
    onError?: ((error: Error) => void) | undefined;
}
/** The options with their defaults. */
export interface Settings {
    id: string;
    again: boolean;
    max: number;
    /** Asks for a token; rejects, after reporting it, where there is none to be had. */
    token: () => Promise<string | undefined>;
    log: (...what: unknown[]) => void;
    errors: Set<Listener<Error>>;
    /** Tells those who listen for errors; where nobody does, the console. */
    report: (error: Error) => void;
}
/** Fills the defaults in; `name` stands before what is logged. */
export declare function settings(o: ClientOptions, name: string): Settings;
/**
 * An address of the page's own server, or elsewhere if absolute: a `<base>` does not move it, so that no foreign one learns
 * the client id.
 * @throws TypeError for a relative address where there is no page it could be relative to
 */
export declare function resolve(endpoint: string): URL;
/** Whether an address is of the page's own origin; never where there is no page. */
export declare function sameOrigin(url: URL): boolean;
