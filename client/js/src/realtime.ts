import { Channel, type RealtimeEvent } from './channel.js';
import { asError, parse, RealtimeError } from './errors.js';
import { random } from './id.js';
import { Keeper, type State } from './keeper.js';
import { listen, tell, type Listener } from './listen.js';
import { resolve, settings, type ClientOptions, type Settings } from './options.js';
import { Outbox, type Answer, type Limits } from './outbox.js';
import { Presence, promised, type Rooms } from './presence.js';
import type { Change, Member } from './roster.js';
import { Wishes } from './wishes.js';

/** A channel of which something was missed, and why: `evicted`, `epoch`, `unknown` or `backend`. */
export interface RealtimeReset {
  channel: string;
  reason: string;
}

/** The part of the WebSocket class that is used; those of the packages `ws` and `undici` have it, too. */
export type WebSocketMaker = new (url: string, protocol: string) => WebSocketLike;

/** The part of a WebSocket that is used. */
export interface WebSocketLike {
  onopen: ((event: never) => unknown) | null;
  onmessage: ((event: never) => unknown) | null;
  onclose: ((event: never) => unknown) | null;
  send(data: string): void;
  close(code?: number): void;
}

/** Options of {@link RealtimeClient}. */
export interface RealtimeClientOptions extends ClientOptions {
  /** Address of the WebSocket; http(s) becomes ws(s). Default `/api/maravilla/realtime`. */
  wsEndpoint?: string | undefined;
  /** The same as {@link RealtimeClient.onReset}. */
  onReset?: ((reset: RealtimeReset) => void) | undefined;
  /** What makes the connection. Default: the global one, which Node has from version 22 on. */
  WebSocket?: WebSocketMaker | undefined;
}

interface Frame extends RealtimeEvent, Answer {
  event: string;
  ref?: number;
  src?: string;
  limits?: Limits;
  members?: Member[];
  retryMs?: number;
}

const subprotocol = 'maravilla.realtime.v1';
const mostKept = 100;
const reasons: Record<number, string> = { 4401: 'unauthorized', 4403: 'forbidden' };

/**
 * Channels over a WebSocket: messages and presence. After a lost connection it comes back by itself, goes on behind the
 * last event of each channel, and repeats what has had no answer; what cannot be told any more it says through
 * {@link RealtimeClient.onReset}.
 */
export class RealtimeClient {
  #set: Settings;
  #url: URL;
  #keeper: Keeper;
  #outbox = new Outbox();
  #channels = new Map<string, Channel>();
  #make: WebSocketMaker | undefined;
  #socket: WebSocketLike | undefined;
  #attempt: object | undefined;
  #tag: string | undefined;
  #refused: RealtimeError | undefined; // what was said before the connection was closed
  #denied = 0; // connections in a row that ended for want of credentials
  #prefix: string = random() + '-'; // of message ids
  #messages = 0;
  #any = new Set<Listener<RealtimeEvent>>();
  #resets = new Set<Listener<RealtimeReset>>();
  #rooms: Rooms;

  /** @throws TypeError for a relative endpoint outside of a page */
  constructor(options: RealtimeClientOptions = {}) {
    const { wsEndpoint = '/api/maravilla/realtime', onReset } = options;
    this.#set = settings(options, '[realtime]');
    this.#url = resolve(wsEndpoint);
    this.#url.protocol = this.#url.protocol.replace('http', 'ws');
    // A browser sees how a WebSocket was closed, but not why it was not opened: hence credentials are checked behind it.
    this.#url.searchParams.set('auth', 'hello');
    if (onReset) this.onReset(onReset);
    this.#make = options.WebSocket ?? globalThis.WebSocket;
    this.#rooms = {
      room: (name) => this.#room(name),
      peek: (name) => this.#channels.get(name),
      sync: (room) => this.#sync(room),
      wishes: new Wishes(this.#outbox, (room) => this.#sync(room), this.#set.report),
    };
    const line = { dial: () => void this.#dial(), hangUp: () => this.#hangUp() };
    this.#keeper = new Keeper(line, this.#set.max, this.#set.again);
  }

  /** Connects, and stays connected until {@link RealtimeClient.disconnect}. */
  connect(): void {
    this.#keeper.start();
  }

  /** Closes the connection. What has no answer yet is refused as `closing`; subscriptions wait for the next connect. */
  disconnect(): void {
    this.#keeper.stop();
    this.#fail(new RealtimeError('closing', 'disconnected', true));
  }

  /** Whether the server has said hello. */
  isConnected(): boolean {
    return this.state === 'open';
  }

  /** Whether events are coming in. */
  get state(): State {
    return this.#keeper.state;
  }

  /** Calls `cb` with each change of {@link RealtimeClient.state}. */
  onState(cb: (state: State) => void): () => void {
    return listen(this.#keeper.states, cb);
  }

  /** Calls `cb` when it cannot be told what was missed in a channel: read your data again. */
  onReset(cb: (reset: RealtimeReset) => void): () => void {
    return listen(this.#resets, cb);
  }

  /** Calls `cb` with the refusal of a subscription, with what `getToken` threw, or with what ended the client. */
  onError(cb: (error: Error) => void): () => void {
    return listen(this.#set.errors, cb);
  }

  /** What `from` is in events this client caused. */
  getClientId(): string {
    return this.#set.id;
  }

  /** Calls `cb` with each message of a channel, the own ones too. Returns how to stop that. */
  subscribe(channel: string, cb: (event: RealtimeEvent) => void): () => void {
    const room = this.#room(channel);
    const off = listen(room.messages, cb);
    this.#sync(room);
    return () => {
      off();
      queueMicrotask(() => this.#sync(room)); // many stop listening only to begin again
    };
  }

  /** Calls `cb` with each event of the channels that are subscribed to or present in. Returns how to stop that. */
  onAny(cb: (event: RealtimeEvent) => void): () => void {
    return listen(this.#any, cb);
  }

  /**
   * Publishes a message. Resolves when the server has it. Rejects with a {@link RealtimeError}: with the server's refusal,
   * `too_many` when 100 wait already, `unavailable` when two minutes have brought no answer. May be ignored.
   */
  publish(channel: string, data: unknown): Promise<void> {
    return promised((done) => {
      if (this.#outbox.kept >= mostKept) return done(new RealtimeError('too_many', 'too many messages wait', true));
      const op = { op: 'publish', channel, data: data === undefined ? null : data, id: this.#prefix + ++this.#messages };
      this.#outbox.keep(op, done);
    });
  }

  /** Who is present in a channel, and how to be. Costs nothing until used. */
  presence(channel: string): Presence {
    return new Presence(this.#rooms, channel);
  }

  async #dial(): Promise<void> {
    const attempt = (this.#attempt = {});
    try {
      const token = await this.#set.token();
      if (this.#attempt === attempt) this.#connect(token);
    } catch (e) {
      this.#set.log('failed', e);
      if (this.#attempt === attempt) this.#keeper.lost();
    }
  }

  /** Ends for good, or until connect() is called again. */
  #end(error: RealtimeError): void {
    this.#keeper.stop();
    this.#fail(error);
    this.#set.report(error);
  }

  #fail(error: RealtimeError): void {
    this.#outbox.fail(error);
    this.#rooms.wishes.fail(error);
  }

  #connect(token: string | undefined): void {
    if (!this.#make) return this.#end(new RealtimeError('unsupported', 'there is no WebSocket here; pass one as the option WebSocket'));
    const socket = (this.#socket = new this.#make(this.#url.href, subprotocol));
    socket.onopen = () => socket.send(JSON.stringify({ op: 'hello', cid: this.#set.id, token }));
    socket.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (this.#socket !== socket) return;
      this.#keeper.heard();
      // A listener may hang up between two of them.
      for (const text of String(data).split('\n')) if (this.#socket === socket) this.#take(text);
    };
    socket.onclose = ({ code }: CloseEvent) => this.#socket === socket && this.#gone(reasons[code]);
  }

  #hangUp(): void {
    const socket = this.#socket;
    this.#socket = this.#attempt = this.#refused = undefined;
    this.#outbox.cut();
    this.#rooms.wishes.cut();
    for (const room of this.#channels.values()) room.cut();
    socket?.close(1000);
  }

  /** The connection is over: come back or not, according to the reason. */
  #gone(reason?: string, wait?: number): void {
    this.#set.log('gone', reason);
    if (this.#keeper.healthy) this.#denied = 0;
    const denied = reason === 'unauthorized' || reason === 'expired';
    if (reason === 'revoked' || reason === 'forbidden' || (denied && this.#denied++)) {
      this.#end(this.#refused ?? new RealtimeError(denied ? reason : 'forbidden', 'the server ended the connection'));
    } else this.#keeper.lost(wait || undefined);
  }

  #take(text: string): void {
    const frame = parse(text) as Frame | null | undefined;
    this.#set.log('<', frame ?? text);
    if (!frame || typeof frame !== 'object') return this.#set.report(new RealtimeError('bad_json', 'unreadable frame'));
    const { event, cursor } = frame;
    if (event === 'hello') this.#hello(frame);
    else if (event === 'bye') this.#bye(frame);
    else if (event === 'ping') this.#complete(cursor);
    else if (frame.channel !== undefined && event !== 'subscribed') this.#event(frame);
    else if (!this.#outbox.answer(frame) && event === 'error') this.#error(asError(frame, 'internal', 'refused', false));
  }

  #hello({ src, limits }: Frame): void {
    this.#tag = src;
    const socket = this.#socket;
    const send = (text: string): void => {
      this.#set.log('>', text);
      socket?.send(text);
    };
    this.#outbox.begin(send, limits, () => {
      for (const room of this.#channels.values()) {
        this.#sync(room);
        this.#rooms.wishes.restore(room);
      }
    });
    this.#keeper.opened();
  }

  #bye({ cursor, reason, retryMs }: Frame): void {
    this.#complete(cursor);
    this.#gone(reason, retryMs);
  }

  /** Everything up to the cursor has come, in every channel that is subscribed to. */
  #complete(cursor: string | undefined): void {
    for (const room of this.#channels.values()) if (room.live && cursor) room.cursor = cursor;
  }

  #error(error: RealtimeError): void {
    if (this.#outbox.open) this.#set.report(error);
    else this.#refused = error;
  }

  #event(frame: Frame): void {
    const room = this.#channels.get(frame.channel);
    if (!room?.live) return; // of a subscription that is over
    if (frame.event === 'reset') return this.#reset(room, frame);
    if (frame.event === 'presence.state') return room.presence ? room.roster.replace(frame.members ?? []) : undefined;
    if (frame.id) room.cursor = frame.id;
    const event = frame.from && frame.from === this.#tag ? { ...frame, from: this.#set.id } : frame;
    if (frame.event === 'message') tell(room.messages, event);
    else if (!this.#present(room, frame)) return;
    tell(this.#any, event);
  }

  /** Whether a presence event says anything new. */
  #present(room: Channel, { event, userId = '', metadata, ts = 0 }: Frame): boolean {
    const change = /^presence\.(join|update|leave)$/.exec(event)?.[1] as Change | undefined;
    return !!change && room.presence && room.roster.apply(change, { userId, metadata, lastSeen: ts });
  }

  #reset(room: Channel, { cursor, reason = 'unknown' }: Answer): void {
    if (cursor) room.cursor = cursor;
    tell(this.#resets, { channel: room.name, reason });
  }

  #room(name: string): Channel {
    let room = this.#channels.get(name);
    if (!room) {
      room = new Channel(name, (event) => tell(this.#any, event));
      this.#channels.set(name, room);
    }
    return room;
  }

  #sync(room: Channel): void {
    if (this.#channels.get(room.name) !== room) return;
    if (!room.used) this.#channels.delete(room.name);
    if (!this.#outbox.open) return;
    if (room.used) this.#subscribe(room);
    else if (room.asked !== undefined) this.#outbox.add({ op: 'unsubscribe', channel: room.name }, room.name, () => {});
  }

  #subscribe(room: Channel): void {
    if (room.asking) return; // and comes back here with the answer
    // A subscription that goes on where another ended is not told who is there; to learn it, presence is asked for behind it.
    const bare = room.asked === undefined && room.cursor && !room.roster.known;
    const presence = room.presence && !bare;
    if (room.asked !== presence) this.#ask(room, presence);
  }

  #ask(room: Channel, presence: boolean): void {
    const again = room.asked !== undefined;
    const op = {
      op: 'subscribe',
      channel: room.name,
      since: again ? undefined : room.cursor,
      presence: presence || (again ? false : undefined),
    };
    room.asked = presence;
    room.asking = true;
    if (!presence) room.roster.clear();
    this.#outbox.add(op, room.name, (error, answer) => {
      room.asking = false;
      if (!error) {
        this.#subscribed(room, answer!);
        return this.#sync(room);
      }
      room.asked = room.live ? false : undefined;
      this.#set.report(error);
    });
  }

  #subscribed(room: Channel, answer: Answer): void {
    if (room.live) return; // again, for presence only
    room.live = true;
    room.cursor = answer.cursor ?? room.cursor;
    if (answer.state === 'reset') this.#reset(room, answer);
  }
}
