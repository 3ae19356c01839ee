/**
 * Calls `cb` for each event of a kind that the browser sends to the page's window or document, until `signal` aborts. Events of
 * elements pass the window too, and an app may give a CustomEvent of its own such a name: neither counts.
 */
export function on(type: string, cb: () => unknown, signal?: AbortSignal): void {
  const own = (event: Event): void => {
    if (!(event.target as Node).parentNode && !('detail' in event)) cb();
  };
  // What concerns the document passes the window on its way there.
  globalThis.addEventListener?.(type, own, { signal: signal!, capture: true });
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
  let leaving = false; // a page that is left is still to be hidden
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
      show();
      wake();
    }
  }, signal);
  on('freeze', hide, signal);
  on('resume', show, signal);
}
