/** What happens to a page that concerns its connections. */
export interface Life {
  /** The network came back, or the page is being looked at again. */
  wake(): void;
  /** The page goes away: into the back/forward cache, or for good. */
  hide(): void;
  /** The page is shown: for the first time, or again. */
  show(): void;
}

/** Watches the page until the returned function is called. Where there is no page (Node), nothing ever happens. */
export function watchLife(life: Life): () => void {
  const off = new AbortController();
  const on = (target: EventTarget | undefined, type: string, cb: () => void): void =>
    target?.addEventListener?.(type, cb, { signal: off.signal });
  const page = globalThis.document as Document | undefined;
  on(globalThis as unknown as EventTarget, 'online', () => life.wake());
  on(globalThis as unknown as EventTarget, 'pagehide', () => life.hide());
  on(globalThis as unknown as EventTarget, 'pageshow', () => life.show());
  on(page, 'visibilitychange', () => page?.visibilityState === 'visible' && life.wake());
  return () => off.abort();
}
