import {
  getOrCreateClientId, RealtimeClient, RealtimeError, RenClient, renFetch, storageDelete, storageUpload,
  type Member, type RenEvent, type State, type StoredObject, type WebSocketMaker,
} from '@maravilla-realtime/client';
import '@maravilla-realtime/client/ephemeral';
import '@maravilla-realtime/client/every';
import '@maravilla-realtime/client/history';
import '@maravilla-realtime/client/stream';
import { enableLoad } from '@maravilla-realtime/client/load';
import { invalidateQueries, revalidateSWR } from '@maravilla-realtime/client/query';
import { shareTabs } from '@maravilla-realtime/client/share';
import { channelStore, type Store } from '@maravilla-realtime/client/stores';
import { useChannel } from '@maravilla-realtime/client/react';

declare const maybe: { token: string | undefined; socket: WebSocketMaker | undefined; signal: AbortSignal | undefined; flag: boolean | undefined };
enableLoad();
shareTabs();
const rt = new RealtimeClient<{ 'room:{id}': { text: string } }>({
  clientId: maybe.token, WebSocket: maybe.socket, getToken: async () => maybe.token, autoReconnect: maybe.flag,
});
const ren = new RenClient({ every: 200, subscriptions: ['kv'], onError: (e: Error) => e instanceof RealtimeError && e.code });
ren.on((event: RenEvent) => event.t === 'kv.put' && event.ns.length);
export const state: State = ren.state;
rt.subscribe('room:1', ({ data }) => data.text.length, { rewind: 3 });
// @ts-expect-error a number is no text
rt.publish('room:1', { text: 1 });
export const done: Promise<void> = rt.publish('room:1', { text: '' }, { ephemeral: true });
export const members: Member[] = rt.presence('room:1').members();
export const object: Promise<StoredObject | undefined> = storageUpload('a', new Blob(["x"]), { signal: maybe.signal, onProgress: undefined });
export const answer: Promise<Response> = renFetch('/a', { method: 'POST', getToken: () => maybe.token });
void storageDelete('a', { signal: maybe.signal, getToken: undefined });
export const store: Store<{ resets: number }> = channelStore(rt, 'room:1');
export const id: string = getOrCreateClientId();
export async function read(): Promise<void> {
  for await (const text of rt.stream('room:1', 'a')) text.length;
  const page = await rt.history('room:1', { before: undefined, limit: 3 });
  page.messages[0]?.data.text;
}
export const fns = [invalidateQueries, revalidateSWR, useChannel];
