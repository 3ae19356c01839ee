import type { RealtimeEvent, RealtimeMessage, RealtimeReset } from './channel.js';
import type { State } from './reconnector.js';
import type { ClientOptions } from './options.js';
import type { Presence } from './presence.js';
import { createSession } from './session.js';
import type { WebSocketMaker } from './transport.js';
import type { ChannelOf, OfChannel } from './types.js';

/** Options of {@link RealtimeClient}. */
export interface RealtimeClientOptions extends ClientOptions {
  /** Address of the WebSocket; http(s) becomes ws(s). Default `/api/maravilla/realtime`. */
  wsEndpoint?: string | undefined;
  /** The same as {@link RealtimeClient.onReset}. */
  onReset?: ((reset: RealtimeReset) => void) | undefined;
  /** What makes the connection. Default: the global one, which Node has from version 22 on. */
  WebSocket?: WebSocketMaker | undefined;
}

/** What modules add to the options of each subscription. */
export interface SubscribeOptions {}

/** {@link RealtimeClient.subscribe}, which the module `history` gives options. */
export interface Subscribe<Channels> {
  <Name extends ChannelOf<Channels>>(channel: Name, cb: (event: RealtimeMessage<OfChannel<Channels, Name>>) => void): () => void;
}

/** The forms of {@link RealtimeClient.publish}: modules add to them. */
export interface Publish<Channels> {
  <Name extends ChannelOf<Channels>>(channel: Name, data: OfChannel<Channels, Name>): Promise<void>;
}

/**
 * Channels over a WebSocket: messages and presence. After a lost connection it comes back by itself, goes on after the
 * last event of each channel, and repeats what has had no answer. Where something was missed that cannot be told, it says so through
 * {@link RealtimeClient.onReset}.
 *
 * Its channels can be typed, and the metadata of those present in them; `{…}` and `*` stand for any text:
 * `new RealtimeClient<{ 'room:{id}': ChatMessage }, { 'room:{id}': { name: string } }>()`.
 */
export class RealtimeClient<Channels = Record<string, unknown>, Presences = Record<string, unknown>> {
  /** Whether events are coming in. */
  declare readonly state: State;
  /** Connects, and stays connected until {@link RealtimeClient.disconnect}. */
  declare readonly connect: () => void;
  /** Closes the connection. What has no answer yet is refused as `closing`; subscriptions wait for the next connect. */
  declare readonly disconnect: () => void;
  /** Calls `cb` with each change of {@link RealtimeClient.state}. */
  declare readonly onState: (cb: (state: State) => void) => () => void;
  /** Calls `cb` when it cannot be told what was missed in a channel: read your data again. */
  declare readonly onReset: (cb: (reset: RealtimeReset) => void) => () => void;
  /**
   * Calls `cb` with the refusal of a subscription, with why the server took one or a presence away, with what `getToken`
   * threw, or with what ended the client.
   */
  declare readonly onError: (cb: (error: Error) => void) => () => void;
  /** What `from` is in events this client caused. */
  declare readonly getClientId: () => string;
  /** Calls `cb` with each message of a channel, the own ones too. Returns how to stop that. */
  declare readonly subscribe: Subscribe<Channels>;
  /**
   * Calls `cb` with each event of the channels that are subscribed to or present in, those of presence as rosters see them: a join
   * of somebody who was there is an update. Returns how to stop that.
   */
  declare readonly onAny: (cb: (event: RealtimeEvent) => void) => () => void;
  /**
   * Publishes a message. Resolves when the server has it. Rejects with a {@link RealtimeError}: with the server's refusal, unless
   * that is for the moment; `too_many` when 100 wait already; `unavailable` when two minutes have brought no answer. May be ignored.
   */
  declare readonly publish: Publish<Channels>;
  /** Who is present in a channel, and how to be. Costs nothing until used. */
  declare readonly presence: <Name extends ChannelOf<Channels> | ChannelOf<Presences>>(
    channel: Name,
  ) => Presence<OfChannel<Presences, Name>>;

  /** Whether the server has said hello. */
  declare readonly isConnected: () => boolean;

  /** @throws TypeError for a relative endpoint outside of a page */
  constructor(options: RealtimeClientOptions = {}) {
    createSession(this, options);
  }
}
