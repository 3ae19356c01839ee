import type { Listener } from './listen.js';
import { Roster, type Change, type Member } from './roster.js';
import type { Wish } from './wishes.js';

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
  /** Whether an answer to that is due. */
  asking = false;
  wish: Wish | undefined;

  constructor(name: string, report: (event: RealtimeEvent) => void) {
    this.name = name;
    this.roster = new Roster((change: Change, { userId, metadata, lastSeen }: Member) =>
      report({ event: 'presence.' + change, channel: name, userId, metadata, ts: lastSeen }),
    );
  }

  /** The connection is gone. */
  cut(): void {
    this.live = this.asking = false;
    this.asked = undefined;
  }

  get presence(): boolean {
    return this.roster.listeners > 0 || !!this.wish;
  }

  get used(): boolean {
    return this.messages.size > 0 || this.presence;
  }
}
