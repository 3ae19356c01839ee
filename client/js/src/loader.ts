// Data that is loaded, and kept up to date by what comes afterwards.

/** Gives the data as they are, and may take as long as it likes; `signal` aborts when they are no longer wanted. */
export type Load<T> = (signal: AbortSignal) => T | Promise<T>;

/** Loads, keeps what comes meanwhile, and passes it on afterwards. */
export interface Loader<Event> {
  /**
   * Loads, or loads again, after so many milliseconds: nothing that has come before counts any longer. Default: at once the first time;
   * afterwards at some time within a second, as many clients lose their position at once.
   */
  start_(wait?: number): void;
  /** Takes what has come: passes it on, now or once loaded. What comes before a load begins is in what it gives. */
  take_(event: Event): void;
  /** Ends all of it. */
  stop_(): void;
}

/**
 * @param loaded - takes what `load` has given
 * @param apply - takes what has come since the load began, in order
 * @param failed - told when a load has failed, once until one succeeds; it is tried again after growing waits, of 15 s at the most
 * @param one - whether one event that has come since is as good as many
 */
export function createLoader<T, Event>(
  load: Load<T>, loaded: (data: T) => void, apply: (event: Event) => void, failed: (error: Error) => void, one = false,
): Loader<Event> {
  const spread = 1_000; // ms
  const least = 500; // ms of a wait after a failure
  const longest = 15_000;
  const most = 10_000; // events to keep; a load that lets more come is begun again

  let attempt: AbortController | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let kept: Event[] | undefined; // since the load began
  let ready = false; // it has ended well
  let once = false; // some load has
  let tries = 0; // that failed in a row

  const fail = (error: Error): void => {
    const first = !tries++;
    self.start_(least + Math.random() * (Math.min(longest, 1_000 * 1.5 ** tries) - least));
    if (first) failed(error); // last, as who is told may end it
  };
  const begin = async (): Promise<void> => {
    const { signal } = (attempt = new AbortController());
    kept = [];
    try {
      const data = await load(signal);
      if (signal.aborted) return;
      const events = kept;
      kept = undefined;
      ready = once = true;
      tries = 0;
      loaded(data);
      events.forEach(self.take_); // to apply one of them may begin another load
    } catch (e) {
      if (!signal.aborted) fail(e as Error);
    }
  };
  const self: Loader<Event> = {
    start_(wait = once ? Math.random() * spread : 0) {
      self.stop_();
      timer = setTimeout(begin, wait);
    },
    take_(event) {
      if (ready) apply(event);
      else if (kept && !(one && kept[0]) && kept.push(event) > most) fail(new Error('too many events while loading'));
    },
    stop_() {
      clearTimeout(timer);
      attempt?.abort();
      kept = undefined;
      ready = false;
    },
  };
  return self;
}

/** How long to wait for a position before loading without one, in milliseconds: to be shown old data is better than none. */
export const patience = 5_000;
