import type { RealtimeMessage } from './channel.js';
import type { State } from './reconnector.js';
import { listen, tell, type Listener } from './listen.js';
import type { Presence } from './presence.js';
import type { RealtimeClient } from './realtime.js';
import type { RenClient } from './ren.js';
import type { AnyRenEvent, RenEvent } from './renevent.js';
import type { Member } from './member.js';
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

/** The messages of a channel. */
export interface ChannelNews<T = unknown> {
  /** The last ones, oldest first. */
  messages: readonly RealtimeMessage<T>[];
  /** How often it could not be told what was missed, by the server or as nobody listened: read again what came before. */
  resets: number;
}

/** Collects the messages of a channel, the last `limit` of them. */
export function channelStore<C = Untyped, P = Untyped, Name extends ChannelOf<C> = ChannelOf<C>>(
  client: RealtimeClient<C, P> | undefined, channel: Name, limit = 100,
): Store<ChannelNews<OfChannel<C, Name>>> {
  let now: ChannelNews<OfChannel<C, Name>> = { messages: [], resets: 0 };
  return createStore(now, client && ((set, again) => {
    const missed = (): void => set((now = { ...now, resets: now.resets + 1 }));
    if (again) missed();
    const offs = [
      client.subscribe(channel, (message) => set((now = { ...now, messages: limit > 0 ? [...now.messages, message].slice(-limit) : [] }))),
      client.onReset((reset) => reset.channel === channel && missed()),
    ];
    return () => offs.forEach((off) => off());
  }));
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
