import type { Channel } from './channel.js';
import type { ClientOptions } from './options.js';
import type { Outbox } from './outbox.js';
import { createParser, type StreamEvent } from './sse.js';

/**
 * Reads a stream to its end. Resolves with the answer where it is a refusal; rejects where there is no network, or when aborted.
 *
 * @param take - called with each event
 * @param heard - called when bytes have come
 * @param at - when the request was made whose data the stream is to go on from; undefined where it goes on from another stream
 */
export type OpenStream = (
  url: URL, headers: Record<string, string>, signal: AbortSignal,
  take: (event: StreamEvent) => void, heard: () => void, at: number | undefined,
) => Promise<Response | undefined>;

/** Reads a stream with fetch: unlike EventSource it sends headers, shows the status, and comes back after a 503. */
export const fetchStream: OpenStream = async (url, headers, signal, take, heard) => {
  const type = 'text/event-stream';
  const answer = await fetch(url, {
    headers: { Accept: type, ...headers }, signal, credentials: 'include', cache: 'no-store',
    redirect: 'manual', // as of a WebSocket: another origin would be given the headers
  });
  if (!answer.headers.get('Content-Type')?.includes(type)) return answer;
  const parse = createParser((event) => signal.aborted || take(event));
  const reader = answer.body!.getReader();
  for (let bytes; (bytes = (await reader.read()).value); parse(bytes)) heard();
  return undefined;
};

/** The part of a WebSocket that is used. */
export interface WebSocketLike {
  onopen: ((event: never) => unknown) | null;
  onmessage: ((event: never) => unknown) | null;
  onerror: ((event: never) => unknown) | null;
  onclose: ((event: never) => unknown) | null;
  send(data: string): void;
  close(code?: number): void;
}

/** The part of the WebSocket class that is used; those of the packages `ws` and `undici` have it, too. */
export type WebSocketMaker = new (url: string, protocol: string) => WebSocketLike;

/** Begins a WebSocket. What it throws is final where it is a RealtimeError. */
export type OpenSocket = (url: string) => WebSocketLike;

/** How a WebSocket ended. */
export interface Closed {
  code: number;
  reason?: string;
  /** What was thrown where it could not even begin. */
  error_?: unknown;
}

/** What other modules put into clients: `shareTabs()` between those whose options say that they share and the network. */
export const layer: {
  stream?: (open: OpenStream, options: ClientOptions) => OpenStream;
  socket?: (open: OpenSocket, options: ClientOptions) => OpenSocket;
  /** What other modules have added to the RealtimeClients that are made from then on; see {@link addExtension}. */
  extend_?: Extension;
} = {};

/**
 * Adds something to a client.
 *
 * @param check - refuses what was added to the outbox, where nothing will come of it
 * @param tag - gives the client's own
 * @param use - gives a channel, made if need be
 */
export type Extension = (
  client: object, outbox: Outbox, check: () => void, report: (error: unknown) => void, tag: () => string | undefined, use: (channel: string) => Channel,
) => void;

/** Has the RealtimeClients that are made from now on extended once more. */
export function addExtension(extend: Extension): void {
  const before = layer.extend_;
  layer.extend_ = (...parts) => {
    before?.(...parts);
    extend(...parts);
  };
}
