import { createAsker } from './asker.js';
import { asError, type RealtimeError } from './errors.js';
import { listen, tell, type Listener } from './listen.js';
import type { Change, Member } from './member.js';
import type { Done, Outbox } from './outbox.js';
import { createOwnPresence, type OwnPresence } from './ownPresence.js';
import type { Reconnector } from './reconnector.js';
import { createRoster, type Roster } from './roster.js';
import type { Frame } from './wire.js';

interface Caused<Event extends string> {
  event: Event;
  channel: string;
  /** Who caused it: the own client id, or a tag of another's. */
  from?: string;
  /** When, in milliseconds since the Unix epoch. */
  ts?: number;
  /** Cursor after the event. */
  id?: string;
}

/** A message of a channel. */
export interface RealtimeMessage<T = unknown> extends Caused<'message'> {
  data: T;
  /** The publisher's user. */
  userId?: string;
  /** It is live only, and has no `id`. */
  ephemeral?: true;
  /** It tells of a message that grows, the one with this id: that it has begun, or how it has ended. Set by the server alone. */
  stream?: string;
  /** Of that: `streaming` where it has begun. */
  state?: 'streaming' | 'complete' | 'failed' | 'cancelled';
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

/** What a client wants of a channel, or the server has been asked for. */
const enum Scope {
  Nothing,
  Messages,
  Presence,
}

/** A channel in use. */
export interface Channel {
  readonly roster_: Roster;
  readonly own_: OwnPresence;
  /** Adds a listener for messages. */
  subscribe_(cb: Listener<RealtimeMessage>): () => void;
  /** Whether it has begun on this connection. */
  isLive_(): boolean | undefined;
  /** Adds a listener for those who come, change or go. */
  on_(change: Change, cb: Listener<Member>): () => void;
  /** Asks for what is wanted, unless the server knows: an answer may have come, or somebody may want something else. */
  sync_(): void;
  /** The connection is gone. */
  cut_(): void;
  /** Everything up to the cursor has come. */
  complete_(cursor: string | undefined): void;
  /** Takes what the server says of the channel. */
  take_(frame: Frame): void;
  /** Something is refused, or taken away, and nobody waits for an answer. */
  refuse_(why: Partial<RealtimeError>): void;
}

/**
 * The events of a channel: has the server send them, on each connection again, from the last one on.
 *
 * @param channels - those that are in use, where it stands as long as it is
 * @param any - told of every event
 */
export function createChannel(
  channel: string, channels: Map<string, Channel>, outbox: Outbox, reconnector: Reconnector<RealtimeReset>, any: Set<Listener<RealtimeEvent>>,
): Channel {
  const messages = new Set<Listener<RealtimeMessage>>();
  let cursor: string | undefined; // everything up to here has been delivered
  let live: boolean | undefined; // the server has confirmed it on this connection
  let asked = Scope.Nothing; // on this connection
  let denied: boolean | undefined; // until somebody wants it again

  const wanted = (): Scope =>
    roster_.watching_.size || own_.wanted_() ? Scope.Presence : messages.size ? Scope.Messages : Scope.Nothing;
  /** What the server is to be asked for next. */
  const scope = (): Scope => {
    const all = wanted();
    if (denied && all) return asked;
    // Where it goes on from a cursor, the server does not say who is there. To learn that, presence is asked for in a second step.
    return all === Scope.Presence && !asked && cursor && !roster_.known_ ? Scope.Messages : all;
  };
  const ask = (): object | undefined => {
    const next = scope();
    if (next === asked) return undefined;
    if (wanted() < Scope.Presence) roster_.clear_();
    const op = { op: 'subscribe', since: asked ? undefined : cursor, presence: next > Scope.Messages || (asked ? false : undefined) };
    asked = next;
    if (next) return op;
    live = false;
    cursor = undefined;
    return { op: 'unsubscribe' };
  };
  const answered: Done = (error, answer) => {
    denied = !!error;
    if (error) {
      asked = live ? Scope.Messages : Scope.Nothing;
      if (!live) roster_.clear_(true);
      refuse_(error);
    } else if (answer!.state && !live) {
      roster_.cut_();
      // One that was taken away while the server was asked for more begins afresh, and not where it ended.
      begin(answer!, answer!.state === 'reset' || (answer!.state === 'fresh' && !!cursor));
    }
  };
  /** It begins, or goes on after a gap. */
  const begin = (frame: Frame, reset: boolean): void => {
    live = true;
    cursor = frame.cursor ?? cursor;
    if (!reset) return;
    roster_.known_ = false; // what it has missed will not come, but a whole one, where presence is wanted
    reconnector.missed_({ channel, reason: frame.reason ?? 'unknown' });
  };
  /** The server has taken it away: for good, or until it is asked again. */
  const lose = (frame: Frame): void => {
    complete_(frame.cursor);
    live = false;
    denied = !frame.retry;
    if (asker.state_ < 2) asked = Scope.Nothing; // else the answer says
    if (!denied) return sync_();
    roster_.clear_(true);
    refuse_(frame);
  };
  /** Has the server asked for what a listener needs. Returns how to remove it. */
  const use = (off: () => void): (() => void) => {
    denied = false;
    sync_();
    return () => {
      off();
      queueMicrotask(sync_); // many stop listening only to begin again
    };
  };

  const sync_ = (): void => {
    if ((channels.get(channel) ?? self) !== self) return; // in use again, but not here
    if (wanted()) channels.set(channel, self);
    else if (!asked && !asker.state_ && !own_.asker_.state_) channels.delete(channel); // while an answer is due, nobody else may ask
    if (scope() !== asked) asker.ask_(ask, answered);
    own_.sync_();
  };
  const refuse_ = (why: Partial<RealtimeError>): void => reconnector.report_(Object.assign(asError(why), { channel }));
  const complete_ = (at: string | undefined): void => {
    if (live) cursor = at ?? cursor;
  };
  const asker = createAsker(channel, outbox, sync_);
  const roster_ = createRoster(channel, any);
  const own_ = createOwnPresence(channel, outbox, sync_, refuse_);
  const self: Channel = {
    roster_,
    own_,
    sync_,
    refuse_,
    complete_,
    subscribe_: (cb) => use(listen(messages)(cb)),
    isLive_: () => live,
    on_: (change, cb) => use(roster_.on_(change, cb)),
    cut_() {
      live = denied = false;
      asker.state_ = asked = 0;
      own_.cut_();
      sync_();
    },
    take_(frame) {
      const { event, id } = frame;
      if (event === 'left') own_.lose_(frame);
      if (!live || /stream/.test(event)) return; // what is said of a stream: its `id` is no cursor
      complete_(id);
      if (event === 'unsubscribed') lose(frame);
      else if (event === 'reset') begin(frame, true);
      else if (event === 'message') {
        tell(messages, frame as unknown as RealtimeMessage);
        tell(any, frame as unknown as RealtimeMessage);
      } else if (asked === Scope.Presence) roster_.take_(frame);
    },
  };
  return self;
}
