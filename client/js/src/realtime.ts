import { createChannel, type Channel, type RealtimeEvent, type RealtimeMessage, type RealtimeReset } from './channel.js';
import { asError, fatal, parse, RealtimeError } from './errors.js';
import { random } from './id.js';
import { createKeeper, type Keeper, type State } from './keeper.js';
import { listen, tell, type Listener } from './listen.js';
import { resolve, type ClientOptions } from './options.js';
import { createOutbox } from './outbox.js';
import { createPresence, promised, type Presence } from './presence.js';
import { layer, type OpenSocket, type WebSocketLike, type WebSocketMaker } from './transport.js';
import type { ChannelOf, OfChannel } from './types.js';
import type { Frame } from './wire.js';

/** Options of {@link RealtimeClient}. */
export interface RealtimeClientOptions extends ClientOptions {
  /** Address of the WebSocket; http(s) becomes ws(s). Default `/api/maravilla/realtime`. */
  wsEndpoint?: string | undefined;
  /** The same as {@link RealtimeClient.onReset}. */
  onReset?: ((reset: RealtimeReset) => void) | undefined;
  /** What makes the connection. Default: the global one, which Node has from version 22 on. */
  WebSocket?: WebSocketMaker | undefined;
}

/**
 * Channels over a WebSocket: messages and presence. After a lost connection it comes back by itself, goes on behind the
 * last event of each channel, and repeats what has had no answer; what cannot be told any more it says through
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
  declare readonly subscribe: <Name extends ChannelOf<Channels>>(
    channel: Name, cb: (event: RealtimeMessage<OfChannel<Channels, Name>>) => void,
  ) => () => void;
  /**
   * Calls `cb` with each event of the channels that are subscribed to or present in, those of presence as rosters see them: a join
   * of somebody who was there is an update. Returns how to stop that.
   */
  declare readonly onAny: (cb: (event: RealtimeEvent) => void) => () => void;
  /**
   * Publishes a message. Resolves when the server has it. Rejects with a {@link RealtimeError}: with the server's refusal, unless
   * that is for the moment; `too_many` when 100 wait already; `unavailable` when two minutes have brought no answer. May be ignored.
   */
  declare readonly publish: <Name extends ChannelOf<Channels>>(channel: Name, data: OfChannel<Channels, Name>) => Promise<void>;
  /** Who is present in a channel, and how to be. Costs nothing until used. */
  declare readonly presence: <Name extends ChannelOf<Channels> | ChannelOf<Presences>>(
    channel: Name,
  ) => Presence<OfChannel<Presences, Name>>;

  /** @throws TypeError for a relative endpoint outside of a page */
  constructor(options: RealtimeClientOptions = {}) {
    const { wsEndpoint = '/api/maravilla/realtime', WebSocket: Socket = globalThis.WebSocket } = options;
    const url = resolve(wsEndpoint);
    // A browser sees how a WebSocket was closed, but not why it was not opened: hence credentials are checked behind it.
    url.searchParams.set('auth', 'hello');

    const any = new Set<Listener<RealtimeEvent>>();
    let socket: WebSocketLike | undefined;
    let tag: string | undefined;
    let refused: RealtimeError | undefined; // what was said before the connection was closed, or has ended the client
    let denied = 0; // connections in a row that ended for want of credentials

    const keeper: Keeper<RealtimeReset> = createKeeper<RealtimeReset>(this, options, '[realtime]', (signal, token) => {
      if (!Socket) return end(new RealtimeError('unsupported', 'no WebSocket'));
      const own = (socket = open(url.href.replace(/^http/, 'ws')));
      own.onopen = () => {
        keeper.heard_();
        own.send(JSON.stringify({ op: 'hello', cid: keeper.id_, token }));
      };
      own.onmessage = ({ data }: { data: string }) => {
        // A listener may hang up between two of them.
        for (const text of data.split('\n')) if (!signal.aborted) take(text);
      };
      own.onclose = ({ code }: { code: number }) => signal.aborted || gone(fatal[code - 4000]);
    }, () => {
      cut();
      socket?.close(1000);
      refused = undefined;
    });
    const connect: OpenSocket = (to) => new Socket(to, 'maravilla.realtime.v1');
    const open = layer.socket?.(connect, keeper.share_) ?? connect;
    const outbox = createOutbox();
    const channels = new Map<string, Channel>();
    const use = (name: string): Channel =>
      channels.get(name) ?? createChannel(name, channels, outbox, keeper, (event) => tell(any, event));

    const fail = (error: RealtimeError): void => {
      outbox.fail_(error);
      for (const channel of channels.values()) channel.fail_(error);
    };
    const end = (error: RealtimeError): void => {
      keeper.stop_();
      refused = error;
      check();
      keeper.report_(error);
    };
    /** Refuses what waits where nothing will come of it: the client has ended, and not been told to connect again. */
    const check = (): void => {
      if (this.state === 'closed' && refused) fail(refused);
    };
    /** The connection is over: come back or not, according to the reason. */
    const gone = (reason?: string, wait?: number): void => {
      keeper.log_(reason);
      const unknown = reason === 'unauthorized' || reason === 'expired';
      if (keeper.healthy_()) denied = 0;
      if (reason === 'revoked' || reason === 'forbidden' || (unknown && denied++))
        end(refused ?? new RealtimeError(unknown ? reason : 'forbidden', reason));
      else keeper.lost_(wait);
    };
    const cut = (): void => {
      outbox.cut_();
      for (const channel of channels.values()) channel.cut_();
    };
    const take = (text: string): void => {
      const frame = parse(text) as Frame;
      keeper.heard_();
      keeper.log_(text);
      if (!frame) return keeper.report_(new RealtimeError('bad_json'));
      const { event, cursor } = frame;
      if (event === 'bye' || event === 'ping') for (const channel of channels.values()) channel.complete_(cursor);
      if (event === 'hello') {
        cut(); // another tab may have taken the connection over
        tag = frame.src;
        outbox.open_((op) => (keeper.log_(op), socket!.send(op)), frame.limits!, () => {
          for (const channel of channels.values()) channel.sync_();
        });
        if (outbox.isOpen_()) keeper.opened_(); // what was refused may have had a listener hang up
      } else if (event === 'bye') gone(frame.reason, frame.retryMs);
      else if (!outbox.answer_(frame))
        if (frame.channel)
          channels.get(frame.channel)?.event_(frame.from && frame.from === tag ? { ...frame, from: keeper.id_ } : frame);
        else if (event === 'error') {
          const error = asError(frame);
          if (outbox.isOpen_()) keeper.report_(error);
          else refused = error;
        }
    };
    this.connect = keeper.start_;
    this.disconnect = () => {
      keeper.stop_();
      fail(new RealtimeError('closing', 'closed', true));
    };
    this.onAny = listen(any);
    this.subscribe = (channel, cb) => use(channel).subscribe_(cb as Listener<RealtimeMessage>);
    this.publish = (channel, data) =>
      promised((done) => {
        outbox.add_({ op: 'publish', channel, data: data ?? null, id: random() }, done, true);
        check();
      });
    this.presence = (channel) => createPresence(() => use(channel), check) as Presence<never>;
  }

  /** Whether the server has said hello. */
  isConnected(): boolean {
    return this.state === 'open';
  }
}
