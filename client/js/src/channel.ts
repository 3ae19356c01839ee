import type { Listener } from './listen.js';
import { createRoster, type Roster } from './roster.js';
import type { Wish } from './wishes.js';

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

/** What a client knows of one channel. */
export interface Channel {
  readonly name: string;
  readonly messages_: Set<Listener<RealtimeMessage>>;
  readonly roster_: Roster;
  /** Everything up to here has been delivered. */
  cursor?: string | undefined;
  /** Whether the server has confirmed the subscription. */
  live_?: boolean;
  /** Whether presence was asked for; undefined where the connection has no subscription. */
  asked_?: boolean | undefined;
  /** Whether an answer to that is due. */
  asking_?: boolean;
  wish_?: Wish | undefined;
}

export function createChannel(name: string, report: (event: RealtimePresence) => void): Channel {
  return {
    name,
    messages_: new Set(),
    roster_: createRoster((change, { userId, metadata, lastSeen }) =>
      report({ event: `presence.${change}`, channel: name, userId, metadata, ts: lastSeen }),
    ),
  };
}

/** Whether anybody wants to know who is there. */
export function wantsPresence({ roster_: roster, wish_: wish }: Channel): boolean {
  return roster.listeners_ > 0 || !!wish;
}
