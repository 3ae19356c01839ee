import type { Listener } from './listen.js';
import { Roster, type Change, type Member } from './roster.js';

/** What happens in a channel. */
export interface RealtimeEvent {
  /** `message`, `presence.join`, `presence.update` or `presence.leave`. */
  event: string;
  channel: string;
  /** Payload of a message. */
  data?: unknown;
  /** Who caused it: the own client id, or a tag of another's. */
  from?: string;
  /** User: the publisher of a message, the member of a presence event. */
  userId?: string;
  /** When, in milliseconds since the Unix epoch. */
  ts?: number;
  /** What a member says of itself. */
  metadata?: unknown;
  /** Cursor behind the event. */
  id?: string;
}

/** A wish to be present. */
export interface Wish {
  userId: string | undefined;
  metadata: unknown;
  /** Whether the server has heard of it, so that the next connection has to repeat it. */
  ok: boolean;
}

/** What a client knows of one channel. */
export class Channel {
  readonly name: string;
  readonly messages: Set<Listener<RealtimeEvent>> = new Set();
  readonly roster: Roster;
  /** Everything up to here has been delivered. */
  cursor: string | undefined;
  /** Whether the server has confirmed the subscription. */
  live = false;
  /** Whether presence was asked for; undefined where the connection has no subscription. */
  asked: boolean | undefined;
  wish: Wish | undefined;

  constructor(name: string, report: (event: RealtimeEvent) => void) {
    this.name = name;
    this.roster = new Roster((change: Change, { userId, metadata, lastSeen }: Member) =>
      report({ event: 'presence.' + change, channel: name, userId, metadata, ts: lastSeen }),
    );
  }

  get presence(): boolean {
    return this.roster.listeners > 0 || !!this.wish;
  }

  get used(): boolean {
    return this.messages.size > 0 || this.presence;
  }
}
