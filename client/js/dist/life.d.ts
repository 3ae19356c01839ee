/** Calls `cb` for each event of a kind, of the page's window unless told otherwise, until `signal` aborts. */
export declare function on(type: string, cb: () => unknown, signal?: AbortSignal, target?: EventTarget | undefined): void;
/**
 * Watches what happens to a page that concerns its connections, until the returned function is called. Where there is no
 * page (Node), nothing ever happens.
 *
 * @param wake - the network came back, or the page is being looked at again
 * @param hide - the page goes away: into the back/forward cache, or for good, or is frozen where it is
 * @param show - the page is shown: for the first time, or again; or it goes on
 */
export declare function watchLife(wake: () => unknown, hide: () => unknown, show: () => unknown): () => void;
