import { createChannel, type Channel, type RealtimeEvent, type RealtimeMessage, type RealtimeReset } from './channel.js';
import { asError, fatal, parse, RealtimeError } from './errors.js';
import { random } from './id.js';
import { createKeeper, type Keeper, type State } from './keeper.js';
import type { Listener } from './listen.js';
import { resolve } from './options.js';
import { createOutbox, type Done } from './outbox.js';
import type { RealtimeClientOptions } from './realtime.js';
import { layer, unopened, type Closed, type OpenSocket, type WebSocketLike } from './transport.js';
import type { Frame } from './wire.js';

/** What a client of channels says and hears: over one WebSocket after the other, as its keeper has them made. */
export interface Session {
  connect_(): void;
  disconnect_(): void;
  /** The channel of a name, made if need be. */
  use_(name: string): Channel;
  subscribe_(name: string, cb: Listener<RealtimeMessage>): () => void;
  publish_(channel: string, data: unknown, done: Done): void;
  /** Refuses what waits where nothing will come of it: the client has ended, and not been told to connect again. */
  check_(): void;
}

/**
 * @param any - told of every event
 * @throws TypeError for a relative endpoint outside of a page
 */
export function createSession(client: { state: State }, options: RealtimeClientOptions, any: (event: RealtimeEvent) => void): Session {
  const moment = 1_000; // ms for the bye that follows an error, and says when to come back

  const { wsEndpoint = '/api/maravilla/realtime', WebSocket: Socket = globalThis.WebSocket } = options;
  const url = resolve(wsEndpoint, 'wsEndpoint');
  // A browser sees how a WebSocket was closed, but not why it was not opened: hence credentials are checked after that.
  url.searchParams.set('auth', 'hello');
  const channels = new Map<string, Channel>();
  const outbox = createOutbox();
  let socket: WebSocketLike | undefined;
  let tag: string | undefined;
  let over: RealtimeError | undefined; // why nothing will come of what is asked, where the client is closed

  const cut = (): void => {
    outbox.cut_();
    for (const channel of channels.values()) channel.cut_();
  };
  const greeted = ({ src, limits, expiresIn }: Frame): void => {
    cut(); // another tab may have taken the connection over
    tag = src;
    outbox.open_((op) => (keeper.log_(op), socket!.send(op)), limits!, () => {
      for (const channel of channels.values()) channel.sync_();
    });
    if (outbox.isOpen_()) keeper.opened_(expiresIn); // what was refused may have had a listener hang up
  };
  /** An error that answers no operation: before the hello it is the answer to that. */
  const refused = (error: RealtimeError, signal: AbortSignal): void => {
    if (outbox.isOpen_()) keeper.report_(error);
    else if (error.retry || error.code === 'internal') setTimeout(() => signal.aborted || keeper.lost_(), moment);
    else keeper.lost_(error);
  };
  const take = (text: string, signal: AbortSignal): void => {
    const frame = parse(text) as Frame;
    keeper.heard_();
    keeper.log_(text);
    if (!frame) return keeper.report_(new RealtimeError('bad_json'));
    const { event, cursor, channel } = frame;
    if (event === 'bye' || event === 'ping') for (const used of channels.values()) used.complete_(cursor);
    if (event === 'hello') greeted(frame);
    else if (event === 'bye') keeper.bye_(frame.reason, frame.retryMs);
    else if (outbox.answer_(frame)) return;
    else if (channel) channels.get(channel)?.take_(frame.from && frame.from === tag ? { ...frame, from: keeper.id_ } : frame);
    else if (event === 'error') refused(asError(frame), signal);
  };
  const dial_ = (signal: AbortSignal, token: string | undefined): void => {
    if (!Socket) throw new RealtimeError('unsupported', 'no WebSocket');
    const closed = ({ code, reason }: Closed): void => {
      const name = fatal[code - 4000];
      if (!signal.aborted) keeper.lost_(name ? new RealtimeError(name, reason || name) : code === 1006 && reason ? new Error(reason) : undefined);
    };
    let own: WebSocketLike;
    try {
      own = socket = open(url.href.replace(/^http/, 'ws'));
    } catch (e) {
      return closed(unopened(e));
    }
    own.onopen = () => {
      keeper.heard_();
      own.send(JSON.stringify({ op: 'hello', cid: keeper.id_, token }));
    };
    own.onmessage = ({ data }: { data: string }) => {
      // A listener may hang up between two of them.
      for (const text of data.split('\n')) if (!signal.aborted) take(text, signal);
    };
    own.onclose = closed;
    // Node's own WebSocket says nothing else of one that fails, and `ws` throws where nobody listens, also after the close.
    own.onerror = () => closed({ code: 1006 });
  };

  const keeper: Keeper<RealtimeReset> = createKeeper(client, options, '[realtime]', {
    dial_,
    hangUp_() {
      cut();
      socket?.close(1000);
    },
    ended_(error) {
      over = error instanceof RealtimeError ? error : new RealtimeError('closing', 'closed', true);
      self.check_();
    },
    renew_: (token) =>
      outbox.add_({ op: 'hello', token }, (error, answer) => (error ? keeper.complain_(error) : keeper.expires_(answer!.expiresIn))),
  });
  const connect: OpenSocket = (to) => new Socket(to, 'maravilla.realtime.v1');
  const open = layer.socket?.(connect, keeper.share_) ?? connect;

  const self: Session = {
    connect_() {
      over = undefined;
      keeper.start_();
    },
    disconnect_: () => keeper.stop_(),
    use_: (name) =>
      channels.get(name) ?? createChannel(name, { channels_: channels, outbox_: outbox, any_: any, report_: keeper.report_, missed_: keeper.missed_ }),
    subscribe_(name, cb) {
      const channel = self.use_(name);
      const off = channel.subscribe_(cb);
      // After a disconnect it waits for the next connect, as before the first.
      if (client.state === 'closed' && over && over.code !== 'closing') channel.refuse_(new RealtimeError(over.code, over.message, over.retry));
      return off;
    },
    publish_(channel, data, done) {
      outbox.add_({ op: 'publish', channel, data: data ?? null, id: random() }, done, true);
      self.check_();
    },
    check_() {
      if (client.state !== 'closed' || !over) return;
      outbox.fail_(over);
      for (const channel of channels.values()) channel.fail_(over);
    },
  };
  return self;
}
