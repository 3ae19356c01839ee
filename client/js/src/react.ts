import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import { RealtimeError } from './errors.js';
import type { State } from './reconnector.js';
import { promised } from './presence.js';
import type { RealtimeClient } from './realtime.js';
import type { RenClient } from './ren.js';
import type { AnyRenEvent, RenEvent } from './renevent.js';
import type { Member } from './member.js';
import { channelStore, historyStore, presenceStore, queryStore, renStore, statusStore, streamStore, type ChannelNews, type HistoryNews, type Query, type QueryOptions, type RenNews, type Store, type StreamNews, type Untyped } from './stores.js';
import type { ChannelOf, OfChannel } from './types.js';

// Every hook takes its client, which is best made once, outside of all components; undefined stands for none, as on a
// server that renders.

function useStore<T>({ subscribe, getSnapshot }: Store<T>): T {
  return useSyncExternalStore(subscribe, getSnapshot, getSnapshot);
}

/** Whether a client is connected. */
export function useConnectionStatus(client: Pick<RenClient | RealtimeClient, 'state' | 'onState'> | undefined): State {
  const { subscribe, getSnapshot } = useMemo(() => statusStore(client), [client]);
  return useSyncExternalStore(subscribe, getSnapshot, () => 'connecting'); // as a server has rendered it
}

/**
 * What has happened on the server, as far as it matches: `version` grows with each such event, when it cannot be told what
 * was missed, and when the client opens for the first time, so it belongs to what an effect or a query depends on.
 */
export function useRen<Own extends AnyRenEvent = never>(
  client: RenClient<Own> | undefined, match?: (event: RenEvent<Own>) => boolean,
): RenNews<Own> {
  const latest = useRef(match);
  useEffect(() => {
    latest.current = match;
  });
  return useStore(useMemo(() => renStore(client, (event) => latest.current?.(event) ?? true), [client]));
}

/**
 * Data that are loaded, and kept up to date by events; see `queryStore`.
 *
 * @param key - says which data: with another key they are loaded afresh
 */
export function useQuery<T, Own extends AnyRenEvent = never>(
  client: RenClient<Own> | undefined, key: string, options: QueryOptions<T, Own>,
): Query<T> & { reload: () => void } {
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  const store = useMemo(
    () =>
      queryStore<T, Own>(client, {
        load: (signal) => latest.current.load(signal),
        match: (event) => latest.current.match?.(event) ?? true,
        apply: (data, event) => latest.current.apply?.(data, event),
      }),
    [client, key],
  );
  const query = useStore(store);
  return useMemo(() => ({ ...query, reload: store.reload }), [query, store]);
}

/**
 * The last messages of a channel, at most `limit` of them (100) and without those that are live only, and how to publish another
 * one: `publish` stays the same until the channel changes. With another channel or limit it begins without messages.
 */
export function useChannel<C = Untyped, P = Untyped, Name extends ChannelOf<C> = ChannelOf<C>>(
  client: RealtimeClient<C, P> | undefined, channel: Name, limit = 100,
): ChannelNews<OfChannel<C, Name>> & { publish: (data: OfChannel<C, Name>) => Promise<void> } {
  const news = useStore(useMemo(() => channelStore(client, channel, limit), [client, channel, limit]));
  const publish = useCallback(
    (data: OfChannel<C, Name>) =>
      client?.publish(channel, data) ?? promised((done) => done(new RealtimeError('unavailable', 'no client', true))),
    [client, channel],
  );
  return useMemo(() => ({ ...news, publish }), [news, publish]);
}

/**
 * The messages of a channel: the last page of its history, what comes, and with `more` what was before; see `historyStore`. With another
 * channel or limit it begins again.
 */
export function useHistory<C = Untyped, P = Untyped, Name extends ChannelOf<C> = ChannelOf<C>>(
  client: RealtimeClient<C, P> | undefined, channel: Name, limit = 50,
): HistoryNews<OfChannel<C, Name>> & { more: () => void } {
  const store = useMemo(() => historyStore(client, channel, limit), [client, channel, limit]);
  const news = useStore(store);
  return useMemo(() => ({ ...news, more: store.more }), [news, store]);
}

/**
 * A message that grows, and how to stop it: `stop` stays the same until the stream is another one. With another channel or id it begins without
 * text. Needs the module `stream`.
 */
export function useStream<Item = never>(
  client: Pick<RealtimeClient, 'stream'> | undefined, channel: string, id: string,
): StreamNews<Item> & { stop: () => Promise<void> } {
  const store = useMemo(() => streamStore<Item>(client, channel, id), [client, channel, id]);
  const news = useStore(store);
  return useMemo(() => ({ ...news, stop: store.stop }), [news, store]);
}

/** Who one is oneself in a channel. */
export interface Me<M = unknown> {
  /** Default: the user the server knows. */
  userId?: string | undefined;
  /** What the others are shown. */
  metadata?: M | undefined;
}

/** Who is present in a channel; with `me`, oneself too, as long as the component is there. */
export function usePresence<C = Untyped, P = Untyped, Name extends ChannelOf<C> | ChannelOf<P> = ChannelOf<C> | ChannelOf<P>>(
  client: RealtimeClient<C, P> | undefined, channel: Name, me?: Me<OfChannel<P, Name>>,
): { members: readonly Member<OfChannel<P, Name>>[]; error: Error | undefined } {
  const store = useMemo(() => presenceStore(client, channel), [client, channel]);
  const members = useStore(store);
  const [error, setError] = useState<Error>();
  const what = me && JSON.stringify([me.userId, me.metadata]);
  useEffect(() => {
    setError(undefined);
    if (!me) return undefined;
    let over = false;
    const leave = store.join(me.userId, me.metadata, (error) => over || setError(error));
    return () => {
      over = true; // a refusal that comes now is of somebody one no longer is
      leave();
    };
    // what `me` says counts, not which object says it
  }, [store, what]);
  return useMemo(() => ({ members, error }), [members, error]);
}
