import type { RealtimeMessage } from './channel.js';

/** A page of the messages of a channel. */
export interface HistoryPage<T = unknown> {
  /** The oldest first; perhaps fewer than asked for, or none, although there are more. */
  messages: RealtimeMessage<T>[];
  /** For the page before this one, if there is one. The `id` of a message will also do. */
  before?: string;
  /** Why there is none: `start` where the channel has had no older messages, `evicted` where the server has forgotten them, or may have. */
  end?: 'start' | 'evicted';
}

/** Which page of the messages of a channel. */
export interface HistoryOptions {
  /** The messages before this cursor. Default: the newest. */
  before?: string | undefined;
  /** At most so many; a server permits 1 to 100 by default. Default 50. */
  limit?: number | undefined;
}
