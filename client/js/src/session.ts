import type { Owner, Wish } from './ownPresence.js';
import { createChannel, type Channel, type RealtimeEvent, type RealtimeMessage, type RealtimeReset } from './channel.js';
import { asError, parse, RealtimeError } from './errors.js';
import { random } from './id.js';
import { createReconnector, type Client, type Reconnector } from './reconnector.js';
import { listen, type Listener } from './listen.js';
import type { Change, Member } from './member.js';
import { resolve } from './options.js';
import { createOutbox } from './outbox.js';
import { promised, type Presence } from './presence.js';
import type { RealtimeClientOptions } from './realtime.js';
import { layer, type Closed, type OpenSocket, type WebSocketLike } from './transport.js';
import type { Frame } from './wire.js';

/**
 * Gives a client what it says and hears of channels: over one WebSocket after the other, as its reconnector has them made.
 *
 * @throws TypeError for a relative endpoint outside of a page
 */
export function createSession(client: Client, options: RealtimeClientOptions): void {
  const moment = 1_000; // ms for the bye that follows an error, and says when to come back

  const { wsEndpoint = '/api/maravilla/realtime', WebSocket: Socket = globalThis.WebSocket } = options;
  const url = resolve(wsEndpoint);
  // A browser sees how a WebSocket was closed, but not why it was not opened: hence credentials are checked after that.
  url.searchParams.set('auth', 'hello');
  const channels = new Map<string, Channel>();
  const any = new Set<Listener<RealtimeEvent>>();
  const outbox = createOutbox();
  let tag: string | undefined;
  let over: RealtimeError | undefined; // why nothing will come of what is asked: the client has ended

  const cut = (): void => {
    outbox.cut_();
    channels.forEach((used) => used.cut_());
  };
  const take = (text: string, socket: WebSocketLike, signal: AbortSignal): void => {
    const frame = parse(text) as Frame;
    reconnector.heard_();
    reconnector.log_(text);
    const { event, cursor, channel } = frame;
    if (event === 'hello') {
      cut(); // another tab may have taken the connection over
      tag = frame.src;
      outbox.open_((op) => (reconnector.log_(op), socket.send(op)), frame.limits!, () => channels.forEach((used) => used.sync_()));
      if (outbox.isOpen_()) reconnector.opened_(frame.expiresIn); // what was refused may have had a listener hang up
    } else if (outbox.answer_(frame)) return;
    else if (channel) {
      if (tag && frame.from === tag) frame.from = client.getClientId();
      channels.get(channel)?.take_(frame);
    } else {
      channels.forEach((used) => used.complete_(cursor));
      const error = asError(frame);
      if (event === 'bye') reconnector.bye_(frame.reason, frame.retryMs);
      else if (event !== 'error') return;
      else if (outbox.isOpen_()) reconnector.report_(error);
      // The refusal of a hello. Where it is for the moment, a bye follows, and says when to come back.
      else if (error.retry || error.code === 'internal') setTimeout(() => signal.aborted || reconnector.lost_(), moment);
      else reconnector.lost_(error);
    }
  };
  const dial_ = (signal: AbortSignal, token: string | undefined): void => {
    if (!Socket) throw new RealtimeError('unsupported', 'WebSocket');
    const closed = ({ code, reason, error_ }: Closed): void => {
      const denied = { 4401: 'unauthorized', 4403: 'forbidden' }[code];
      if (!signal.aborted) reconnector.lost_(denied ? new RealtimeError(denied, reason || denied) : error_);
    };
    const own = open(url.href.replace(/^http/, 'ws'));
    signal.addEventListener('abort', () => {
      cut();
      own.close(1000);
    });
    own.onopen = () => {
      reconnector.heard_();
      own.send(JSON.stringify({ op: 'hello', cid: client.getClientId(), token: token || undefined }));
    };
    own.onmessage = ({ data }: { data: string }) => {
      // A listener may hang up between two of them.
      for (const text of String(data).split('\n'))
        try {
          if (!signal.aborted) take(text, own, signal);
        } catch {
          // What is thrown here ends the process, with the package `ws`.
          reconnector.report_(new RealtimeError('bad_json'));
        }
    };
    own.onclose = closed;
    // Node's own WebSocket says nothing else of one that fails, and `ws` throws where nobody listens, also after the close.
    own.onerror = () => closed({ code: 1006 });
  };

  const reconnector: Reconnector<RealtimeReset> = createReconnector(client, options, '[realtime]', {
    dial_,
    ended_(error) {
      over = error instanceof RealtimeError ? error : new RealtimeError('closing', undefined, true);
      check();
    },
    renew_: (token) =>
      outbox.add_({ op: 'hello', token }, (error, answer) => (error ? reconnector.complain_(error) : reconnector.opened_(answer!.expiresIn))),
  });
  const connect: OpenSocket = (to) => {
    try {
      return new Socket(to, 'maravilla.realtime.v1');
    } catch (e) {
      // The address is none, or the page may not connect to it.
      throw /^(Syntax|Security|Type)/.test((e as Error)?.name) ? new RealtimeError('bad_request', String(e)) : e;
    }
  };
  const open = layer.socket?.(connect, options) ?? connect;

  /** The channel of a name, made if need be. */
  const use = (name: string): Channel =>
    channels.get(name) ?? createChannel(name, channels, outbox, reconnector, any);
  /** Refuses what waits where nothing will come of it. */
  const check = (): void => {
    if (!over) return;
    outbox.fail_(over);
    channels.forEach((used) => used.own_.fail_(over!));
  };

  Object.assign(client, {
    onAny: listen(any),
    connect() {
      over = undefined;
      reconnector.start_();
    },
    isConnected: () => client.state === 'open',
    disconnect: () => reconnector.stop_(),
    subscribe(name: string, cb: Listener<RealtimeMessage>) {
      const channel = use(name);
      const off = channel.subscribe_(cb);
      // After a disconnect it waits for the next connect, as before the first.
      if (over && over.code !== 'closing') channel.refuse_(over);
      return off;
    },
    publish: (channel: string, data: unknown) =>
      promised((done) => {
        outbox.add_({ op: 'publish', channel, data: data ?? null, id: random() }, done, true);
        check();
      }),
    presence(name: string): Presence {
      const wish: Owner & ((own?: Wish) => Promise<void>) = (own) =>
        promised((done) => {
          if (own) Object.assign(own, parse(JSON.stringify(own))); // as it is now; throws before anything is changed
          use(name).own_.want_(own, done, wish);
          check();
        });
      const on = (change: Change) => (cb: Listener<Member>) => use(name).on_(change, cb);
      return {
        join: (userId, metadata) => wish({ userId, metadata, join_: {} }),
        update: (metadata) => wish({ metadata }),
        leave: () => wish(),
        onJoin: on('presence.join'),
        onLeave: on('presence.leave'),
        onUpdate: on('presence.update'),
        members: () => use(name).roster_.members_(),
      };
    },
  });
  layer.extend_?.(client, outbox, check, reconnector.report_, () => tag, use);
}
