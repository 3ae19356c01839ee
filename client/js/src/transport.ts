import { createParser, type StreamEvent } from './sse.js';

/** One attempt at a stream. */
export interface StreamCall {
  url: URL;
  headers: Record<string, string>;
  signal: AbortSignal;
  /** When the request was made whose data the stream is to go on from; undefined where it goes on from another stream. */
  at_: number | undefined;
  /** Called when bytes have come. */
  heard_(): void;
  /** Called with each event. */
  take_(event: StreamEvent): void;
}

/** Reads a stream to its end. Resolves with the answer where it is a refusal; rejects where there is no network, or when aborted. */
export type OpenStream = (call: StreamCall) => Promise<Response | undefined>;

/** Reads a stream with fetch: unlike EventSource it sends headers, shows the status, and comes back after a 503. */
export async function fetchStream({ url, headers, signal, heard_: heard, take_: take }: StreamCall): Promise<Response | undefined> {
  const type = 'text/event-stream';
  const answer = await fetch(url, { headers: { Accept: type, ...headers }, signal, credentials: 'include', cache: 'no-store' });
  heard();
  if (!answer.headers.get('Content-Type')?.startsWith(type)) return answer;
  const parse = createParser((event) => signal.aborted || take(event));
  await answer.body!.pipeTo(
    new WritableStream({
      write(bytes) {
        heard();
        parse(bytes);
      },
    }),
  );
  return undefined;
}

/** The part of a WebSocket that is used. */
export interface WebSocketLike {
  onopen: ((event: never) => unknown) | null;
  onmessage: ((event: never) => unknown) | null;
  onclose: ((event: never) => unknown) | null;
  send(data: string): void;
  close(code?: number): void;
}

/** The part of the WebSocket class that is used; those of the packages `ws` and `undici` have it, too. */
export type WebSocketMaker = new (url: string, protocol: string) => WebSocketLike;

/** Begins a WebSocket. */
export type OpenSocket = (url: string) => WebSocketLike;

/** With whom a client shares, as its option `shareTabs` says: with nobody, with all of the name, or with all who give none. */
export type Group = boolean | string | undefined;

/** What `shareTabs()` puts between the clients and the network, for those who share with others of the same group. */
export const layer: {
  stream?: (open: OpenStream, name: Group) => OpenStream;
  socket?: (open: OpenSocket, name: Group) => OpenSocket;
} = {};
