import { createAttendance, type Wish } from './attendance.js';
import type { RealtimeError } from './errors.js';
import { listen, tell, type Listener } from './listen.js';
import type { Done, Outbox } from './outbox.js';
import { createRoster, type Change, type Member } from './roster.js';
import { createSubscription, type Owner } from './subscription.js';
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

/** What a channel stands in. */
export interface Surroundings {
  /** The channels that are in use. */
  readonly channels_: Map<string, Channel>;
  readonly outbox_: Outbox;
  /** Told of every event. */
  any_(event: RealtimeEvent): void;
  report_(error: Error): void;
  missed_(reset: RealtimeReset): void;
}

/** A channel in use. */
export interface Channel extends Owner {
  /** Adds a listener for messages. */
  subscribe_(cb: Listener<RealtimeMessage>): () => void;
  /** Adds a listener for those who come, change or go. */
  on_(change: Change, cb: Listener<Member>): () => void;
  /** Who is there. */
  members_(): Member[];
  /** Changes whether this client is present; see {@link Attendance.want_}. */
  wish_(own: Partial<Wish> | undefined, done: Done, anew?: boolean): void;
  /** Tells the server what it does not know yet. */
  sync_(): void;
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
 * A channel in use. Three parts do the work: the subscription has events sent, the roster is what those of presence amount to, and
 * the attendance is whether this client is present itself. Each asks the server one question at a time. Every answer, and
 * whatever somebody wants, leads to {@link Channel.sync_}, which has the parts ask what is to be asked next.
 */
export function createChannel(
  channel: string, { channels_: channels, outbox_: outbox, any_: any, report_: report, missed_: missed }: Surroundings,
): Channel {
  const messages = new Set<Listener<RealtimeMessage>>();

  const use = (off: () => void): (() => void) => {
    subscription.renew_();
    self.sync_();
    return () => {
      off();
      queueMicrotask(self.sync_); // many stop listening only to begin again
    };
  };
  const show = (frame: Frame): void => {
    const event = frame as unknown as RealtimeEvent;
    if (event.event === 'message') {
      tell(messages, event);
      any(event);
    } else if (frame.event === 'presence.state') roster.take_(frame);
    else roster.apply_(event);
  };

  const self: Channel = {
    subscribe_: (cb) => use(listen(messages)(cb)),
    on_: (change, cb) => use(roster.on_(change, cb)),
    members_: () => roster.members_(),
    wish_(own, done, anew) {
      attendance.want_(own, done, anew);
      self.sync_();
    },
    sync_() {
      if ((channels.get(channel) ?? self) !== self) return; // in use again, but not here
      const presence = !!roster.listeners_ || attendance.wanted_();
      const used = presence || !!messages.size;
      if (used) channels.set(channel, self);
      else if (subscription.idle_()) channels.delete(channel); // while an answer is due, nobody else may ask
      subscription.sync_(used, presence);
      attendance.sync_();
    },
    cut_() {
      subscription.cut_();
      attendance.cut_();
      self.sync_();
    },
    fail_(error) {
      attendance.fail_(error);
      self.sync_();
    },
    complete_: (cursor) => subscription.complete_(cursor),
    take_(frame) {
      const { event } = frame;
      if (event === 'left') attendance.lose_(frame);
      else if (event === 'unsubscribed') subscription.lose_(frame);
      else if (event === 'reset') subscription.reset_(frame);
      else if (subscription.takes_(frame)) show(frame);
    },
    refuse_: (error) => report(Object.assign(error, { channel })),
    missed_: (reason) => missed({ channel, reason }),
  };
  const roster = createRoster(channel, any);
  const subscription = createSubscription(channel, outbox, roster, self);
  const attendance = createAttendance(channel, outbox, self);
  return self;
}
