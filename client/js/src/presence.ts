import type { RealtimeError } from './errors.js';
import type { Done } from './outbox.js';
import type { Member } from './member.js';

/** Runs `start` and gives a promise of its end that may be ignored. */
export function promised(start: (done: Done) => void): Promise<void> {
  const promise = new Promise<void>((resolve, reject) => start((error) => (error ? reject(error) : resolve())));
  promise.catch(() => {});
  return promise;
}

/** Who is present in one channel, and whether this client is. From {@link RealtimeClient.presence}. */
export interface Presence<Metadata = unknown> {
  /**
   * Makes the user present, on this connection and those that follow it, until {@link Presence.leave}. Resolves when the
   * server has agreed, however long there is no connection. Rejects with a {@link RealtimeError}, e.g. `forbidden`,
   * `user_mismatch`, or `closing` when the client disconnects first; the promise may be ignored.
   *
   * @param userId - default: the user the server knows
   * @param metadata - what others are shown, at most 1 KiB of JSON by default
   */
  join(userId?: string, metadata?: Metadata): Promise<void>;
  /**
   * Changes what others are shown. Rejects as {@link Presence.join}, and with `not_joined`. Of several changes that wait for an answer
   * to an earlier one only the last is sent, and all end as it does.
   */
  update(metadata: Metadata): Promise<void>;
  /**
   * Ends the presence, once all objects of the channel through which this client has joined have left; through one that has never
   * joined, at once. Nothing happens if there is none, or if this object has left already.
   */
  leave(): Promise<void>;
  /** Calls `cb` with each member: those who are there, and those who come. Returns how to stop that. */
  onJoin(cb: (member: Member<Metadata>) => void): () => void;
  /** Calls `cb` with each member that leaves. */
  onLeave(cb: (member: Member<Metadata>) => void): () => void;
  /** Calls `cb` with each member whose metadata has changed. */
  onUpdate(cb: (member: Member<Metadata>) => void): () => void;
  /** Who is there, while anyone listens or has joined here. */
  members(): Member<Metadata>[];
}
