// Has the cache of a query library follow what happens on the server. The libraries are named by their shapes only, so that nobody needs both.
import type { RenClient } from './ren.js';
import type { AnyRenEvent, RenEvent } from './renevent.js';

/** What both adapters can be told. `Key` is a key of the library. */
export interface InvalidateOptions<Key, Own extends AnyRenEvent = never> {
  /** The keys of the data that an event changes; none where it changes nothing that is shown. */
  keys: (event: RenEvent<Own>) => readonly Key[];
  /** Whether to leave out events that this client has caused, as the page has shown its own writes. Default false. */
  skipOwn?: boolean | undefined;
  /** For how many milliseconds events are collected, at least; at most twice as long. Default 100. */
  debounceMs?: number | undefined;
}

/**
 * Collects keys and hands them on, many at once: after a random time, as many tabs hear of the same event, and not before the last ones
 * are done with.
 *
 * @param invalidate - takes keys, or undefined for all; resolves when they have been loaded again
 */
function collect<Key, Own extends AnyRenEvent>(
  ren: RenClient<Own> | undefined, { keys, skipOwn, debounceMs = 100 }: InvalidateOptions<Key, Own>,
  invalidate: (keys: readonly Key[] | undefined) => unknown,
): () => void {
  const patience = 10_000; // ms for a load, before the next may begin
  const spread = 1_000; // ms, as many clients are reset at once
  const hidden = 5_000; // ms more for a page that nobody looks at
  const most = 1_000; // keys; more are all

  if (!ren) return () => {};
  let due: Map<string, Key> | undefined = new Map(); // undefined: all of them
  let timer: ReturnType<typeof setTimeout> | undefined;
  let late: ReturnType<typeof setTimeout> | undefined; // for a load that does not end
  let busy = false;
  let over = false;
  let opened = false;

  const flush = async (): Promise<void> => {
    const now = due && [...due.values()];
    due = new Map();
    timer = undefined;
    busy = true;
    try {
      await Promise.race([invalidate(now), new Promise((done) => (late = setTimeout(done, patience)))]);
    } catch {
      // the library tells who asked
    }
    clearTimeout(late);
    busy = false;
    if (!due || due.size) plan(debounceMs);
  };
  const plan = (ms: number): void => {
    if (!busy && !over) timer ??= setTimeout(flush, debounceMs + Math.random() * (ms + (globalThis.document?.hidden ? hidden : 0)));
  };
  const all = (): void => {
    due = undefined;
    plan(spread);
  };
  /** What was written between a page's reading and the beginning of the stream, nobody has told. */
  const open = (): void => {
    if (!opened) all();
    opened = true;
  };
  const offs = [
    ren.on((event) => {
      if (skipOwn && event.src === ren.getClientId()) return;
      for (const key of keys(event)) due?.set(JSON.stringify(key), key);
      if (due && due.size > most) due = undefined;
      if (!due || due.size) plan(debounceMs);
    }),
    ren.onReset(all),
    ren.onState((state) => state === 'open' && open()),
  ];
  if (ren.state === 'open') open();
  return () => {
    over = true;
    clearTimeout(timer);
    clearTimeout(late);
    offs.forEach((off) => off());
  };
}

/** The part of TanStack Query's `QueryClient` that is used. */
export interface QueryClientLike {
  invalidateQueries(filters: {
    queryKey?: readonly unknown[];
    predicate?: (query: { state: { data: unknown; fetchStatus: string } }) => boolean;
  }): Promise<unknown>;
}

/**
 * Has the queries of a TanStack `QueryClient` follow events: those whose key begins with one of `keys` become stale, and are loaded again
 * where they are shown. All are after a reset, and once at the
 * beginning, as nobody has told what happened before. Returns how to stop that.
 */
export function invalidateQueries<Own extends AnyRenEvent = never>(
  ren: RenClient<Own> | undefined, queries: QueryClientLike, options: InvalidateOptions<readonly unknown[], Own>,
): () => void {
  const again = async (filters: { queryKey?: readonly unknown[] }): Promise<void> => {
    let early = false; // the first load of some query had begun before, and is not begun again
    const predicate = ({ state }: { state: { data: unknown; fetchStatus: string } }): boolean => {
      early ||= state.data === undefined && state.fetchStatus === 'fetching';
      return true;
    };
    await queries.invalidateQueries({ ...filters, predicate });
    if (early) await queries.invalidateQueries(filters);
  };
  return collect(ren, options, (keys) => (keys ? Promise.all(keys.map((queryKey) => again({ queryKey }))) : again({})));
}

/** The part of SWR's global `mutate` that is used. */
export type MutateLike = (matcher: (key?: unknown) => boolean) => Promise<unknown>;

/**
 * Has the data of SWR follow events: those of `keys` (a string, an array or an object, as they were given to `useSWR`) are loaded again
 * where they are shown. All are after a reset, and once at the beginning, as nobody has told what happened before. Returns how to stop that.
 *
 * @param mutate - of the cache, from `useSWRConfig()` or the package itself
 */
export function revalidateSWR<Own extends AnyRenEvent = never>(
  ren: RenClient<Own> | undefined, mutate: MutateLike, options: InvalidateOptions<unknown, Own>,
): () => void {
  return collect(ren, options, (keys) => {
    const named = keys && new Set(keys.map((key) => JSON.stringify(key)));
    return mutate((key) => !named || named.has(JSON.stringify(key)));
  });
}
