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
