import { asError, RealtimeError } from './errors.js';
import type { Keeper } from './keeper.js';
import { listen, tell, type Listener } from './listen.js';
import type { Done, Outbox } from './outbox.js';
import { createRoster, type Change, type Member } from './roster.js';
import type { Frame } from './wire.js';

interface Caused<Event extends string> {
  event: Event;
  channel: string;
  /** Who caused it: the own client id, or a tag of another's. */
  from?: string;
  /** When, in milliseconds since the Unix epoch. */
  ts?: number;
  /** Cursor behind the event. */
  id?: string;
}

/** A message of a channel. */
export interface RealtimeMessage<T = unknown> extends Caused<'message'> {
  data: T;
  /** The publisher's user. */
  userId?: string;
}

/** What has happened to a member of a channel. */
export interface RealtimePresence<T = unknown> extends Caused<'presence.join' | 'presence.update' | 'presence.leave'> {
  userId: string;
  /** What the member says of itself. */
  metadata?: T;
  /** Why it left: `left`, `closed`, `timeout` or `node`. */
  reason?: string;
}

/** What happens in a channel. */
export type RealtimeEvent<T = unknown, M = unknown> = RealtimeMessage<T> | RealtimePresence<M>;

/** A channel of which something was missed, and why: `evicted`, `epoch`, `unknown` or `backend`. */
export interface RealtimeReset {
  channel: string;
  reason: string;
}

/** Who wants to be present, and what others are to be shown. */
export interface Wish {
  userId?: string | undefined;
  metadata?: unknown;
  /** Whether it is a join, and no update. */
  anew_?: boolean | undefined;
}

/**
 * A channel in use. It has the server know, on each connection anew, that events are wanted and who wants to be present, and
 * takes what the server says of the channel.
 */
export interface Channel {
  subscribe_(cb: Listener<RealtimeMessage>): () => void;
  on_(change: Change, cb: Listener<Member>): () => void;
  /** Who is there. */
  members_(): Member[];
  /**
   * Changes the wish to be present, or ends it. Without one there is nothing to be changed or ended, unless it is made `anew`.
   */
  wish_(own: Partial<Wish> | undefined, done: Done, anew?: boolean): void;
  /** Tells the server what it does not know yet. */
  sync_(): void;
  /** The connection is gone, and with it the presence of those who wish for none. */
  cut_(): void;
  /** There will be no other connection for now: what has not been agreed to is refused. */
  fail_(error: RealtimeError): void;
  /** Everything up to the cursor has come. */
  complete_(cursor: string | undefined): void;
  /** Takes an event. */
  event_(frame: Frame): void;
}

/**
 * @param channels - where it stands as long as it is used
 * @param any - told of every event
 */
export function createChannel(
  channel: string, channels: Map<string, Channel>, outbox: Outbox, keeper: Keeper<RealtimeReset>, any: (event: RealtimeEvent) => void,
): Channel {
  const messages = new Set<Listener<RealtimeMessage>>();
  const roster = createRoster(channel, any);
  let cursor: string | undefined; // everything up to here has been delivered
  let live = false; // the server has confirmed the subscription
  let asked: boolean | undefined; // whether with presence; undefined where the connection has none
  let asking = false; // and the answer is due
  let denied = false; // until somebody wants it anew
  let wish: Wish | undefined;
  let agreed: Wish | undefined; // the last wish that the server has agreed to
  let joined = false; // on this connection
  let joining = false; // or leaving, and the answer is due
  const waiting: Done[] = []; // to be told what has come of their wishes

  const refuse = (error: RealtimeError): void => keeper.report_(Object.assign(error, { channel }));
  /** What the server knows of the wish. */
  const had = (): Wish | undefined => (joined ? agreed : undefined);
  /** Has the server know what is wanted. Each answer leads here again, as there is one question at a time. */
  const sync = (): void => {
    if ((channels.get(channel) ?? self) !== self) return; // in use again, but not here
    const more = asked !== undefined;
    const wanted = !!(roster.listeners_ || wish || had() || joining);
    const used = wanted || messages.size;
    if (used) channels.set(channel, self);
    else if (!more && !asking) channels.delete(channel); // while an answer is due, nobody else may ask
    // A subscription that goes on where another ended is not told who is there; to learn it, presence is asked for behind it.
    const presence = used ? wanted && (more || !cursor || roster.known_) : undefined;
    if (asked !== presence && !asking && !(denied && used) && outbox.isOpen_()) {
      if (!wanted) roster.clear_();
      asking = true;
      asked = presence;
      const since = more ? undefined : cursor;
      if (!used) {
        live = false;
        cursor = undefined;
      }
      outbox.add_({ op: used ? 'subscribe' : 'unsubscribe', channel, since, presence: presence || (more ? presence : undefined) }, answered);
    }
    syncPresence();
  };
  const answered: Done = (error, answer) => {
    asking = false;
    denied = !!error;
    if (error) {
      asked = live ? false : undefined;
      refuse(error);
    } else if (answer!.state && !live) begin(answer!, answer!.state === 'reset');
    sync();
  };
  /** Takes where a subscription begins, or goes on after a gap. */
  const begin = (frame: Frame, reset: boolean): void => {
    live = true;
    cursor = frame.cursor ?? cursor;
    if (!reset) return;
    roster.known_ = false; // what it has missed will not come, but a whole one
    keeper.missed_({ channel, reason: frame.reason! });
  };
  const use = (off: () => void): (() => void) => {
    denied = false;
    sync();
    return () => {
      off();
      queueMicrotask(sync); // many stop listening only to begin again
    };
  };

  const settle = (error?: RealtimeError, many = waiting.length): void => {
    for (const done of waiting.splice(0, many)) done(error);
  };
  const say = (op: string, userId: string | undefined, metadata?: unknown, then?: Done): void => {
    joining = true;
    outbox.add_({ op, channel, userId, metadata }, (error) => {
      joining = false;
      then?.(error);
      sync();
    });
  };
  const syncPresence = (): void => {
    const own = wish;
    const old = had();
    const many = waiting.length;
    if (joining) return;
    if (own === old) {
      agreed = own; // without a connection nobody is present
      settle();
    } else if (outbox.isOpen_())
      say(own ? (old && !own.anew_ && old.userId === own.userId ? 'update' : 'join') : 'leave', (own ?? old)!.userId, own?.metadata, (error) => {
        if (!error) {
          agreed = own;
          // Who joins as another user is no longer who it was.
          if (old?.userId && own?.userId && old.userId !== own.userId) say('leave', old.userId);
        } else if (own && own === agreed) refuse(error);
        else if (wish === own) wish = agreed;
        joined ||= own === agreed;
        settle(error, many);
      });
  };

  const self: Channel = {
    subscribe_: (cb) => use(listen(messages)(cb)),
    on_: (change, cb) => use(roster.on_(change, cb)),
    members_: roster.members,
    wish_(own, done, anew) {
      if (anew || wish || !own) {
        wish = own && { ...wish, ...own, anew_: anew };
        waiting.push(done);
      } else done(new RealtimeError('not_joined'));
      sync();
    },
    sync_: sync,
    cut_() {
      live = asking = denied = joining = joined = false;
      asked = undefined;
      sync();
    },
    fail_(error) {
      wish = agreed;
      settle(error);
      sync();
    },
    complete_(at) {
      if (live) cursor = at ?? cursor;
    },
    event_(frame) {
      const { event, userId } = frame;
      if (event === 'left') {
        if ((agreed?.userId ?? userId) === userId) agreed = undefined;
        if (wish && (wish.userId ?? userId) === userId) {
          wish = undefined;
          refuse(asError(frame));
          sync();
        }
      }
      if (!live) return; // of a subscription that is over
      if (event === 'reset') begin(frame, true);
      else if (event === 'unsubscribed') {
        live = false;
        denied = true;
        asked = asking ? asked : undefined; // else the answer says
        roster.replace_([]); // nobody is told of them any more
        roster.known_ = false;
        refuse(asError(frame));
      } else if (event === 'presence.state') asked && roster.replace_(frame.members!);
      else {
        cursor = frame.id ?? cursor;
        const made = frame as unknown as RealtimeEvent;
        if (made.event === 'message') {
          tell(messages, made);
          any(made);
        } else if (asked) roster.apply_(made);
      }
    },
  };
  return self;
}
