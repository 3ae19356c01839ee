/** Calls `cb` for each event of a kind, of the page's window unless told otherwise, until `signal` aborts. */
export function on(type: string, cb: () => unknown, signal?: AbortSignal, target: EventTarget | undefined = globalThis as never): void {
  target?.addEventListener?.(type, cb, { signal: signal! });
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
  const page = globalThis.document as Document | undefined;
  on('online', wake, signal);
  on('pagehide', hide, signal);
  on('pageshow', show, signal);
  on('visibilitychange', () => page?.visibilityState === 'visible' && wake(), signal, page);
  on('freeze', hide, signal, page);
  on('resume', show, signal, page);
}
