/** Calls `cb` for each event of a kind, of the page's window or document, until `signal` aborts. */
export function on(type: string, cb: () => unknown, signal?: AbortSignal): void {
  // What concerns the document passes the window on its way there.
  globalThis.addEventListener?.(type, cb, { signal: signal!, capture: true });
}

/**
 * Watches what happens to a page that concerns its connections, until `signal` aborts. Where there is no page (Node),
 * nothing ever happens.
 *
 * @param wake - the network came back, or the page is being looked at again
 * @param hide - the page goes away: into the back/forward cache, or for good, or is frozen where it is
 * @param show - the page is shown: for the first time, or again; or it goes on
 */
export function watchLife(signal: AbortSignal, wake: () => unknown, hide: () => unknown, show: () => unknown): void {
  on('online', wake, signal);
  on('pagehide', hide, signal);
  on('pageshow', show, signal);
  on('visibilitychange', () => document.hidden || wake(), signal);
  on('freeze', hide, signal);
  on('resume', show, signal);
}
