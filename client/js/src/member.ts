import type { RealtimePresence } from './channel.js';

/** A user who is present in a channel. */
export interface Member<T = unknown> {
  userId: string;
  /** What the member's last join or update said. */
  metadata?: T;
  /** When the member last did something, in milliseconds since the Unix epoch. */
  lastSeen: number;
}

/** What can happen to a member. */
export type Change = RealtimePresence['event'];
