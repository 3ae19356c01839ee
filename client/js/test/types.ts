// What must compile, and what must not: checked by tsc, never run.
import { useChannel, useConnectionStatus, usePresence, useRen, useStream } from '../src/react.js';
import '../src/stream.js';
import { RealtimeClient, RenClient, storageUpload, type RealtimeClientOptions, type RenClientOptions, type UploadOptions } from '../src/index.js';

/** Under exactOptionalPropertyTypes, too, an option may be given as undefined. */
export function optional<T>(given: T | undefined): T | undefined {
  return given;
}

export const ren: RenClient = new RenClient({
  endpoint: optional('/ren'), subscriptions: optional(['kv']), onReset: optional(() => {}), clientId: optional('id'),
  autoReconnect: optional(true), maxBackoffMs: optional(1), debug: optional(true), getToken: optional(() => 'T'), onError: optional(() => {}),
  shareTabs: optional(false), every: optional(200),
} satisfies Required<RenClientOptions>);

export const rt: RealtimeClient = new RealtimeClient({
  wsEndpoint: optional('/ws'), WebSocket: optional(WebSocket), onReset: optional(() => {}), clientId: optional('id'), autoReconnect: optional(true),
  maxBackoffMs: optional(1), debug: optional(true), getToken: optional(() => 'T'), onError: optional(() => {}), shareTabs: optional('user 1'),
} satisfies Required<RealtimeClientOptions>);

export const upload: Promise<{ path: string; size: number } | undefined> = storageUpload('a', new Blob(), {
  endpoint: optional('/s'), signal: optional(new AbortController().signal), onProgress: optional(() => {}),
  getToken: optional(() => 'T'),
} satisfies Required<UploadOptions>);

// Events are told apart by `t`, and by `r`.

type JobEvent = { t: 'job.done'; r: 'jobs'; k: string; data: { ms: number } };

export function events(client: RenClient<JobEvent>, plain: RenClient): void {
  plain.on((event) => {
    const key: string | undefined = event.k; // may be asked for in any of them
    if (event.t === 'kv.put') {
      const [ns, k]: [string, string] = [event.ns, event.k];
      // @ts-expect-error a write has no channel
      const ch: string = event.ch;
      return [key, ns, k, ch];
    }
    if (event.r === 'presence') return [event.uid.length, event.data?.reason];
    // @ts-expect-error no such type of event: it has to be named as a type parameter
    if (event.t === 'job.done') return [];
    // @ts-expect-error unknown, not any
    if (event.t === 'realtime.message') return event.data.text;
    return [];
  });
  client.on((event) => event.t === 'job.done' && event.data.ms + event.k.length);
}

// Channels are typed by a map, in which `{…}` and `*` stand for any text.

interface Chat { text: string }
interface Move { x: number }
type Channels = { 'room:{id}': Chat; 'game:*:moves': Move; lobby: string };

export function channels(client: RealtimeClient<Channels, { 'room:{id}': { name: string } }>, plain: RealtimeClient, id: string): void {
  client.subscribe(`room:${id}`, ({ data }) => data.text.trim());
  client.subscribe('game:7:moves', ({ data }) => data.x + 1);
  void client.publish('lobby', 'hello');
  // @ts-expect-error a move is no chat message
  void client.publish('room:1', { x: 1 });
  // @ts-expect-error no such channel
  client.subscribe('rooms:1', () => {});
  // @ts-expect-error any text is no channel
  client.subscribe(id, () => {});
  // @ts-expect-error a message has no y
  client.subscribe('game:7:moves', ({ data }) => data.y);
  client.presence('room:1').onJoin(({ metadata }) => metadata?.name.trim());
  // @ts-expect-error a name is missing
  void client.presence('room:1').join('ada', {});
  // @ts-expect-error unknown, not any: nothing is said of those in the lobby
  client.presence('lobby').onJoin(({ metadata }) => metadata.name);
  plain.subscribe(id, (event) => {
    // @ts-expect-error unknown, not any
    return event.data.text;
  });
  plain.onAny((event) => (event.event === 'message' ? event.data : event.userId.length));
}

// A stream is one of text unless it is said what its values are.

export async function streams(client: RealtimeClient<Channels>): Promise<void> {
  for await (const text of client.stream('room:1', 'a1')) text.trim();
  for await (const moves of client.stream<Move>('room:1', 'a1')) moves[0]?.x.toFixed();
  // @ts-expect-error no such channel
  client.stream('rooms:1', 'a1');
  client.subscribe('room:1', ({ stream, state }) => stream?.trim() === '' && state === 'failed');
}

// The hooks know what their clients do.

export function Hooks(client: RealtimeClient<Channels, { 'room:{id}': { name: string } }> | undefined, jobs: RenClient<JobEvent> | undefined): void {
  const { messages, publish } = useChannel(client, 'room:1');
  messages[0]?.data.text.trim();
  void publish({ text: 'hello' });
  // @ts-expect-error a move is no chat message
  void publish({ x: 1 });
  // @ts-expect-error no such channel
  useChannel(client, 'rooms:1');
  usePresence(client, 'room:1', { metadata: { name: 'Ada' } }).members[0]?.metadata?.name.trim();
  // @ts-expect-error a name is missing
  usePresence(client, 'room:1', { userId: 'ada', metadata: {} });
  useRen(jobs, (event) => event.t === 'job.done').event?.data;
  // @ts-expect-error no such type of event
  useRen(jobs, (event) => event.t === 'job.began');
  useConnectionStatus(client);
  useStream(client, 'room:1', 'a1').text.trim();
  useStream<Move>(client, 'room:1', 'a1').items[0]?.x.toFixed();
  // @ts-expect-error unknown, not any
  useChannel(undefined, 'any').messages[0]?.data.text;
}
