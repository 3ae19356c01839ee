import { createOwnPresence, type Wish } from './ownPresence.js';
import { asError, type RealtimeError } from './errors.js';
import type { Reconnector } from './reconnector.js';
import { listen, tell, type Listener } from './listen.js';
import type { Change, Member } from './member.js';
import type { Done, Outbox } from './outbox.js';
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

/** What the server has been asked for. */
const enum Scope {
  Nothing,
  Messages,
  Presence,
}

/** What a part of a channel tells the channel. */
export interface Owner {
  /** Asks for what is wanted, unless the server knows: an answer may have come, or somebody may want something else. */
  sync_(): void;
  /** Something is refused, or taken away, and nobody waits for an answer. */
  refuse_(why: Partial<RealtimeError>): void;
}

/** A channel in use. */
export interface Channel extends Owner {
  /** Adds a listener for messages. */
  subscribe_(cb: Listener<RealtimeMessage>): () => void;
  /** Adds a listener for those who come, change or go. */
  on_(change: Change, cb: Listener<Member>): () => void;
  /** Who is there. */
  members_(): Member[];
  /** Changes whether this client is present; see {@link OwnPresence.want_}. */
  wish_(own: Partial<Wish> | undefined, done: Done, by: object): void;
  /** The connection is gone. */
  cut_(): void;
  /** There will be no other connection for now: what waits is refused. */
  fail_(error: RealtimeError): void;
  /** Everything up to the cursor has come. */
  complete_(cursor: string | undefined): void;
  /** Takes what the server says of the channel. */
  take_(frame: Frame): void;
}

/**
 * The events of a channel and who is present in it: has the server send them, on each connection again, from the last one on. It asks
 * one question at a time, so that no answer is taken for that of another.
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
  let asking: 0 | 1 | 2 = 0; // 1 while a question waits for its turn, 2 while it has no answer
  let used: boolean; // what is wanted: events at all
  let presence: boolean; // and those of presence
  let denied: boolean | undefined; // until somebody wants it again
  const there = new Map<string, Member>(); // who is present, as far as the listeners have been told
  const on: Record<Change, Set<Listener<Member>>> = { 'presence.join': new Set(), 'presence.leave': new Set(), 'presence.update': new Set() };
  let watching = 0; // how many listen to changes
  let known: boolean; // the server has said who is there
  let parts: Member[][] | undefined; // of a roster that is still coming

  /** Has the server asked for what a listener needs. Returns how to remove it. */
  const use = (off: () => void): (() => void) => {
    denied = false;
    self.sync_();
    return () => {
      off();
      queueMicrotask(self.sync_); // many stop listening only to begin again
    };
  };
  const members = (): Member[] => [...there.values()];
  /** Takes what has happened to a member, and tells everybody if it is a change. */
  const apply = (made: RealtimePresence): void => {
    let { event, userId, metadata, ts } = made;
    const old = there.get(userId);
    let member: Member = { userId, metadata, lastSeen: ts! };
    if (!on[event]) return; // of a kind that is not known here
    if (event === 'presence.leave') {
      if (!old) return;
      there.delete(userId);
      member = old; // with what it said last
    } else {
      there.set(userId, member);
      if (old && JSON.stringify(old.metadata) === JSON.stringify(metadata)) return;
      event = old ? 'presence.update' : 'presence.join';
    }
    tell(on[event], member);
    tell(any, { ...made, event });
  };
  /** Takes who is there: tells everybody in what that differs from who was. */
  const replace = (now: Member[]): void => {
    const named = new Set(now.map(({ userId }) => userId));
    const take = (event: Change, { userId, metadata, lastSeen }: Member): void => apply({ event, channel, userId, metadata, ts: lastSeen });
    for (const member of members()) if (!named.has(member.userId)) take('presence.leave', member);
    for (const member of now) take('presence.join', member);
  };
  /** Forgets everybody, as nobody listens. */
  const clear = (): void => {
    parts = undefined;
    known = false;
    there.clear();
  };
  /** The server no longer tells who is there: for the listeners, everybody leaves. */
  const forget = (): void => {
    replace([]);
    clear();
  };
  /** Takes a part of the whole roster. With the last one, everybody is told in what it differs from the one before. */
  const takePart = ({ members, part = 0, more }: Frame): void => {
    if (!part) {
      parts = [];
      known = false; // until all of it has come
    }
    if (parts?.length !== part) return void (parts = undefined); // the one it belongs to began before anybody asked here
    parts.push(members!);
    if (more) return;
    replace(parts.flat());
    parts = undefined;
    known = true;
  };
  /** It begins, or goes on after a gap. */
  const begin = (frame: Frame, reset: boolean): void => {
    live = true;
    cursor = frame.cursor ?? cursor;
    if (!reset) return;
    known = false; // what it has missed will not come, but a whole one, where presence is wanted
    reconnector.missed_({ channel, reason: frame.reason ?? 'unknown' });
  };
  // Where it goes on from a cursor, the server does not say who is there. To learn that, presence is asked for in a second step.
  const scope = (): Scope =>
    !used ? Scope.Nothing : presence && (asked || !cursor || known) ? Scope.Presence : Scope.Messages;
  /** Whether there is something to ask for. */
  const due = (): boolean => scope() !== asked && !(denied && used);
  /** What to ask for when it is this channel's turn, if that is still something else. */
  const ask = (): object | undefined => {
    if (!due()) return undefined;
    const wanted = scope();
    const again = !!asked;
    const since = again ? undefined : cursor;
    if (!presence) clear();
    asking = 2;
    asked = wanted;
    if (used) return { op: 'subscribe', channel, since, presence: wanted > 1 || (again ? false : undefined) };
    live = false;
    cursor = undefined;
    return { op: 'unsubscribe', channel };
  };
  const answered: Done = (error, answer) => {
    asking = 0;
    if (error || answer) denied = !!error;
    if (error) {
      asked = live ? Scope.Messages : Scope.Nothing;
      if (!live) forget();
      self.refuse_(error);
    } else if (answer?.state && !live)
      // One that was taken away while the server was asked for more begins afresh, and not where it ended.
      begin(answer, answer.state === 'reset' || (answer.state === 'fresh' && !!cursor));
    self.sync_();
  };
  /** The server has taken it away: for good, or until it is asked again. */
  const lose = (frame: Frame): void => {
    if (!live) return;
    self.complete_(frame.cursor);
    live = false;
    denied = !frame.retry;
    if (asking < 2) asked = Scope.Nothing; // else the answer says
    parts = undefined;
    if (!denied) return self.sync_();
    forget();
    self.refuse_(frame);
  };

  const self: Channel = {
    subscribe_: (cb) => use(listen(messages)(cb)),
    on_(change, cb) {
      let off: (() => void) | undefined = () => {};
      watching++;
      queueMicrotask(() => {
        if (!off) return;
        off = listen(on[change])(cb);
        if (change === 'presence.join') for (const member of members()) tell(new Set([cb]), member);
      });
      return use(() => {
        if (!off) return;
        off();
        off = undefined;
        watching--;
      });
    },
    members_: members,
    wish_(own, done, by) {
      ownPresence.want_(own, done, by);
      self.sync_();
    },
    sync_() {
      if ((channels.get(channel) ?? self) !== self) return; // in use again, but not here
      presence = !!watching || ownPresence.wanted_();
      used = presence || !!messages.size;
      if (used) channels.set(channel, self);
      else if (!asked && !asking) channels.delete(channel); // while an answer is due, nobody else may ask
      if (due() && !asking && outbox.isOpen_()) {
        asking = 1;
        outbox.add_(ask, answered);
      }
      ownPresence.sync_();
    },
    cut_() {
      live = denied = false;
      asking = 0;
      asked = Scope.Nothing;
      parts = undefined;
      ownPresence.cut_();
      self.sync_();
    },
    fail_(error) {
      ownPresence.fail_(error);
      self.sync_();
    },
    complete_(at) {
      if (live) cursor = at ?? cursor;
    },
    take_(frame) {
      const { event, id } = frame;
      if (event === 'left') ownPresence.lose_(frame);
      else if (event === 'unsubscribed') lose(frame);
      else if (!live) return;
      else if (event === 'reset') begin(frame, true);
      else {
        self.complete_(id);
        if (event === 'message') {
          tell(messages, frame as unknown as RealtimeMessage);
          tell(any, frame as unknown as RealtimeMessage);
        } else if (asked < Scope.Presence) return;
        else if (event === 'presence.state') takePart(frame);
        else apply(frame as unknown as RealtimePresence);
      }
    },
    refuse_: (error) => reconnector.report_(Object.assign(asError(error), { channel })),
  };
  const ownPresence = createOwnPresence(channel, outbox, self);
  return self;
}
