/** What a browser tells the window or the document of a page. */
type PageEvent = 'online' | 'pagehide' | 'pageshow' | 'visibilitychange' | 'freeze' | 'resume';

/**
 * Calls a handler for each event that the browser sends to the page itself, until `signal` aborts. The events of elements pass the
 * window too, and an app may give a CustomEvent of its own the same name: neither counts.
 */
export function onPage(handlers: Partial<Record<PageEvent, () => unknown>>, signal?: AbortSignal): void {
  const hear = (event: Event): void => {
    if (!((event.target as Node).parentNode || 'detail' in event)) handlers[event.type as PageEvent]!();
  };
  // By capturing, the window also hears what is sent to the document.
  for (const type in handlers) globalThis.addEventListener?.(type, hear, { signal: signal!, capture: true });
}
