import type { RealtimeMessage } from './channel.js';
import { RealtimeError } from './errors.js';
import type { State } from './reconnector.js';
import { listen, tell, type Listener } from './listen.js';
import { createLoader, patience, type Load, type Loader } from './loader.js';
import type { HistoryOptions, HistoryPage } from './page.js';
import { promised, type Presence } from './presence.js';
import type { RealtimeClient } from './realtime.js';
import type { RenClient } from './ren.js';
import type { AnyRenEvent, RenEvent } from './renevent.js';
import type { Member } from './member.js';
import type { Stream } from './stream.js';
import type { ChannelOf, OfChannel } from './types.js';

/** The channels of `undefined`, a client that there never is. */
export type Untyped = Record<string, unknown>;

/**
 * Something that changes, in the form in which frameworks take it: React's `useSyncExternalStore` as it is, others with a
 * few lines (docs/frameworks.md). It listens while anybody subscribes. Without a client, as on a server that renders, it
 * stays what it is at first.
 */
export interface Store<T> {
  /** Calls `cb` after each change. Returns how to stop that. */
  readonly subscribe: (cb: () => void) => () => void;
  /** What it is now: the same object until it changes. */
  readonly getSnapshot: () => T;
}

/** @param begin - `again`: nobody has listened for a while */
function createStore<T>(value: T, begin: ((set: (value: T) => void, again: boolean) => () => void) | undefined): Store<T> {
  const listeners = new Set<Listener<void>>();
  let again = false;
  let end: (() => void) | undefined;
  const set = (next: T): void => {
    value = next;
    tell(listeners, undefined);
  };
  return {
    getSnapshot: () => value,
    subscribe(cb) {
      const off = listen(listeners)(cb);
      end ??= begin?.(set, again);
      again = true;
      return () => {
        off();
        queueMicrotask(() => {
          // Frameworks stop listening only to begin again: when a component moves, and in React's StrictMode.
          if (listeners.size) return;
          end?.();
          end = undefined;
        });
      };
    },
  };
}

/** Whether a client is connected. */
export function statusStore(client: Pick<RenClient | RealtimeClient, 'state' | 'onState'> | undefined): Store<State> {
  const { subscribe, getSnapshot } = createStore<void>(undefined, client && ((set) => client.onState(() => set())));
  return { subscribe, getSnapshot: () => (getSnapshot(), client?.state ?? 'connecting') };
}

/** What has happened on the server. */
export interface RenNews<Own extends AnyRenEvent = never> {
  /**
   * Grows with each event that matches, with each reset, when the client opens for the first time, and when somebody
   * listens again after a while in which nobody did: read again what depends on it.
   */
  version: number;
  /** The last event that matched. */
  event: RenEvent<Own> | undefined;
}

/** Follows the events that match; all of them where `match` is left out. */
export function renStore<Own extends AnyRenEvent = never>(
  client: RenClient<Own> | undefined, match: (event: RenEvent<Own>) => boolean = () => true,
): Store<RenNews<Own>> {
  let now: RenNews<Own> = { version: 0, event: undefined };
  return createStore(now, client && ((set, again) => {
    const next = (event = now.event): void => set((now = { version: now.version + 1, event }));
    let first = now.version === 0 && client.state !== 'open';
    const opened = (state: State): void => {
      // What was written between somebody's reading and the beginning of the stream, nobody has told.
      if (first && state === 'open') next();
      first &&= state !== 'open';
    };
    if (again) next();
    const offs = [client.on((event) => match(event) && next(event)), client.onReset(() => next()), client.onState(opened)];
    return () => offs.forEach((off) => off());
  }));
}

/** What to load, and what changes it. */
export interface QueryOptions<T, Own extends AnyRenEvent = never> {
  /** Gives the data. What it throws is in the snapshot as `error`, and it is tried again. */
  load: Load<T>;
  /** Whether an event changes the data. Default: each does. */
  match?: ((event: RenEvent<Own>) => boolean) | undefined;
  /**
   * Gives other data, in which an event is taken into account; undefined where they must be loaded again. A load may give what an event
   * says already, so applying an event to data that have it must change nothing. Default: they are loaded again after each event.
   */
  apply?: ((data: T, event: RenEvent<Own>) => T | undefined) | undefined;
}

/** Data, as far as they are known. */
export interface Query<T> {
  /** What was loaded last, and what was applied to it. */
  data: T | undefined;
  /** Why the last load has failed. */
  error: Error | undefined;
  /** Whether a load is due or on its way. */
  loading: boolean;
}

/** Data that are kept up to date. */
export interface QueryStore<T> extends Store<Query<T>> {
  /** Loads again, if anybody listens. */
  readonly reload: () => void;
}

/**
 * Loads data while anybody subscribes, and keeps them up to date: takes a position in the stream, loads, applies what comes after that
 * position, and loads again only where the stream cannot say what was missed. Many events at once are one load. Without a connection it
 * loads after five seconds, and once more when there is one.
 */
export function queryStore<T, Own extends AnyRenEvent = never>(
  client: RenClient<Own> | undefined, { load, match = () => true, apply }: QueryOptions<T, Own>,
): QueryStore<T> {
  let now: Query<T> = { data: undefined, error: undefined, loading: true };
  let reload: ((wait: number) => void) | undefined; // while anybody listens
  const store = createStore(now, client && ((set) => {
    const change = (more: Partial<Query<T>>): void => set((now = { ...now, ...more }));
    const start = (wait?: number): void => {
      if (!now.loading) change({ loading: true });
      own.start_(wait);
    };
    const take = (event: RenEvent<Own>): void => {
      let data: T | undefined;
      try {
        data = apply?.(now.data!, event);
      } catch (e) {
        change({ error: e as Error });
      }
      if (data === undefined) start(20 + 80 * Math.random());
      else change({ data });
    };
    const own: Loader<RenEvent<Own>> = createLoader<T, RenEvent<Own>>(
      load, (data) => change({ data, error: undefined, loading: false }), take, (error) => change({ error }), !apply,
    );
    reload = start;
    let begun = client.state === 'open';
    start(begun ? 0 : patience);
    const opened = (state: State): void => {
      if (state === 'closed') {
        // Nobody would tell that the data have changed.
        own.stop_();
        change({ loading: false });
      }
      if (begun || state !== 'open') return;
      begun = true;
      start();
    };
    const offs = [client.on((event) => match(event) && own.take_(event)), client.onReset(() => start()), client.onState(opened), own.stop_];
    return () => {
      reload = undefined;
      offs.forEach((off) => off());
    };
  }));
  return { ...store, reload: () => reload?.(0) };
}

/** The messages of a channel. */
export interface ChannelNews<T = unknown> {
  /** The last ones, oldest first. */
  messages: readonly RealtimeMessage<T>[];
  /** How often it could not be told what was missed, by the server or as nobody listened: read again what came before. */
  resets: number;
}

/** Collects the messages of a channel, the last `limit` of them. Those that are live only are left out. */
export function channelStore<C = Untyped, P = Untyped, Name extends ChannelOf<C> = ChannelOf<C>>(
  client: RealtimeClient<C, P> | undefined, channel: Name, limit = 100,
): Store<ChannelNews<OfChannel<C, Name>>> {
  let now: ChannelNews<OfChannel<C, Name>> = { messages: [], resets: 0 };
  return createStore(now, client && ((set, again) => {
    const missed = (): void => set((now = { ...now, resets: now.resets + 1 }));
    if (again) missed();
    const offs = [
      client.subscribe(channel, (message) => {
        if (!message.ephemeral) set((now = { ...now, messages: limit > 0 ? [...now.messages, message].slice(-limit) : [] }));
      }),
      client.onReset((reset) => reset.channel === channel && missed()),
    ];
    return () => offs.forEach((off) => off());
  }));
}

/** The messages of a channel, those of before too. */
export interface HistoryNews<T = unknown> {
  /** Without a gap, oldest first: the last page, those that were asked for, and what has come since, at most 1,000 more. */
  messages: readonly RealtimeMessage<T>[];
  /** Whether a page is due. */
  loading: boolean;
  /** Why the last page could not be had: `more` asks again. */
  error: Error | undefined;
  /** Why there is nothing before the messages, as in {@link HistoryPage}; undefined while there may be. */
  end: HistoryPage['end'] | undefined;
}

/** The messages of a channel, and how to get those before. */
export interface HistoryStore<T = unknown> extends Store<HistoryNews<T>> {
  /** Loads a page of messages from before those that there are. Nothing happens while one is due, or where there are none. */
  readonly more: () => void;
}

/**
 * Collects the messages of a channel, beginning with the last page of its history. Where it cannot be told what was missed, it begins with
 * that again. Messages that are live only are left out. The client must have been made after the module `history` was imported.
 *
 * @param limit - of a page
 */
export function historyStore<C = Untyped, P = Untyped, Name extends ChannelOf<C> = ChannelOf<C>>(
  client: RealtimeClient<C, P> | undefined, channel: Name, limit = 50,
): HistoryStore<OfChannel<C, Name>> {
  type T = OfChannel<C, Name>;
  /** What only clients with the module have. */
  type WithHistory = { history: (channel: string, options: HistoryOptions) => Promise<HistoryPage<T>> };
  const most = 1_000;
  let now: HistoryNews<T> = { messages: [], loading: true, error: undefined, end: undefined };
  let more: (() => void) | undefined; // while anybody listens
  const store = createStore(now, client && ((set) => {
    let turn = 0; // only what was asked in it counts: it begins with the newest page
    let before: string | undefined; // for the page before the messages; undefined where not even the newest one is there
    let known = new Set<string | undefined>(); // the messages of the newest page, which may come as events, too
    let fresh: RealtimeMessage<T>[] = []; // what has come while that was due
    let room = 0; // for messages

    const change = (part: Partial<HistoryNews<T>>): void => set((now = { ...now, ...part }));
    const read = async (at?: string): Promise<void> => {
      const own = at ? turn : ++turn;
      if (!at) [fresh, before] = [[], undefined];
      if (!now.loading || now.error) change({ loading: true, error: undefined });
      try {
        const page = await (client as unknown as WithHistory).history(channel, { before: at, limit });
        if (own !== turn) return;
        if (!at) known = new Set(page.messages.map(({ id }) => id));
        const after = at ? now.messages : fresh.filter(({ id }) => !known.has(id));
        room = (at ? room : most) + page.messages.length;
        before = page.before ?? page.messages[0]?.id ?? at ?? '';
        change({ messages: [...page.messages, ...after], loading: false, end: page.end });
      } catch (e) {
        if (own === turn) change({ loading: false, error: e as Error });
      }
    };
    const take = (message: RealtimeMessage<T>): void => {
      if (message.ephemeral || known.has(message.id)) return;
      if (before === undefined) {
        // The page is yet to come. Where too much comes with it, another one is nearer to what comes then.
        if (fresh.push(message) > most) void read();
        return;
      }
      const messages = [...now.messages, message].slice(-room);
      if (messages.length > now.messages.length) return change({ messages });
      before = messages[0]!.id!;
      change({ messages, end: undefined });
    };
    more = () => {
      if (!now.loading && !now.end) void read(before);
    };
    const offs = [
      client.subscribe(channel, take),
      client.onReset((reset) => reset.channel === channel && read()),
      client.onState((state) => state === 'open' && now.error && read(before)), // it was refused when the client ended
      () => turn++,
    ];
    void read(); // after the subscription, so that nothing is left out between them
    return () => {
      more = undefined;
      offs.forEach((off) => off());
    };
  }));
  return { ...store, more: () => more?.() };
}

/** A stream, as far as it has come. */
export type StreamNews<Item = never> = Pick<Stream<Item>, 'text' | 'items' | 'state' | 'error' | 'partial' | 'metadata'>;

/** A message that grows. */
export interface StreamStore<Item = never> extends Store<StreamNews<Item>> {
  /** Asks the server to stop it, for everybody; see `Stream.stop`. */
  readonly stop: () => Promise<void>;
}

/** Follows a message that grows, while anybody subscribes; needs the module `stream`. */
export function streamStore<Item = never>(
  client: Pick<RealtimeClient, 'stream'> | undefined, channel: string, id: string,
): StreamStore<Item> {
  if (client && !client.stream) throw new RealtimeError('unsupported', "import '@maravilla-realtime/client/stream' first");
  const stream = client?.stream<Item>(channel, id);
  const shown = ({ text, items, state, error, partial, metadata }: StreamNews<Item>): StreamNews<Item> => ({ text, items, state, error, partial, metadata });
  const store = createStore(
    shown(stream ?? { text: '', items: [], state: 'streaming', error: undefined, partial: false, metadata: undefined }),
    stream && ((set) => stream.subscribe(() => set(shown(stream)))),
  );
  return { ...store, stop: () => stream?.stop() ?? promised((done) => done(new RealtimeError('unavailable', 'no client', true))) };
}

/** Who is present in a channel. */
export interface PresenceStore<M = unknown> extends Store<readonly Member<M>[]> {
  /**
   * Joins, until the last of those who have joined through stores of this client ends it with the returned function.
   * `failed` is called with a refusal.
   */
  readonly join: (userId?: string, metadata?: M, failed?: (error: Error) => void) => () => void;
}

/** Those who have joined a channel through stores. */
interface Joined {
  count: number;
  /** Through which they have. */
  room: Presence;
  /** What was said in this tick, and what came of it. */
  said: string | undefined;
  answer: Promise<void>;
}

const joined = new WeakMap<object, Map<string, Joined>>(); // by client and channel

/** Follows who is present in a channel. */
export function presenceStore<C = Untyped, P = Untyped, Name extends ChannelOf<C> | ChannelOf<P> = ChannelOf<C> | ChannelOf<P>>(
  client: RealtimeClient<C, P> | undefined, channel: Name,
): PresenceStore<OfChannel<P, Name>> {
  type M = OfChannel<P, Name>;
  const room = client?.presence(channel);
  const store = createStore<readonly Member<M>[]>([], room && ((set) => {
    let due = false;
    const update = (): void => {
      if (due) return;
      due = true;
      queueMicrotask(() => {
        // once for a whole roster
        due = false;
        const members = room.members();
        if (members.length || store.getSnapshot().length) set(members);
      });
    };
    update(); // what was known when somebody listened last may be over
    const offs = [room.onJoin(update), room.onLeave(update), room.onUpdate(update)];
    return () => offs.forEach((off) => off());
  }));
  const joinedHere = (): Joined => {
    const channels = joined.get(client!) ?? new Map<string, Joined>();
    joined.set(client!, channels);
    const here = channels.get(channel) ?? { count: 0, room: room! as Presence, said: undefined, answer: Promise.resolve() };
    channels.set(channel, here);
    return here;
  };
  const end = (): void => {
    const { room: last } = joinedHere();
    joined.get(client!)!.delete(channel);
    void last.leave();
  };
  return {
    ...store,
    join(userId, metadata, failed) {
      if (!room) return () => {};
      const here = joinedHere();
      let what: string | undefined;
      try {
        what = JSON.stringify([userId, metadata]);
      } catch {
        // the client refuses it
      }
      here.count++;
      if (!what || here.said !== what) {
        // Who joins twice at once, as in React's StrictMode, joins once.
        here.said = what;
        here.answer = here.room.join(userId, metadata);
        queueMicrotask(() => (here.said = undefined));
      }
      here.answer.catch((error: Error) => failed?.(error));
      let there = true;
      return () => {
        if (there) queueMicrotask(() => --here.count || end()); // as above
        there = false;
      };
    },
  };
}
