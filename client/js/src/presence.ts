import type { Channel } from './channel.js';
import { RealtimeError } from './errors.js';
import type { Done } from './outbox.js';
import type { Change, Member } from './roster.js';
import type { Wishes } from './wishes.js';

/** What a handle needs of its client. */
export interface Rooms {
  /** The channel of a name, made if need be. */
  room(name: string): Channel;
  /** The channel of a name, if anyone uses it. */
  peek(name: string): Channel | undefined;
  /** Makes the wire's subscription what the channel's users want. */
  sync(channel: Channel): void;
  wishes: Wishes;
}

/** Runs `start` and gives a promise of its end that may be ignored. */
export function promised(start: (done: Done) => void): Promise<void> {
  const promise = new Promise<void>((resolve, reject) => start((error) => (error ? reject(error) : resolve())));
  promise.catch(() => {});
  return promise;
}

/** Who is present in one channel, and whether this client is. From {@link RealtimeClient.presence}. */
export class Presence {
  #rooms: Rooms;
  #channel: string;

  /** @internal */
  constructor(rooms: Rooms, channel: string) {
    this.#rooms = rooms;
    this.#channel = channel;
  }

  /**
   * Makes the user present, on this connection and those that follow it, until {@link Presence.leave}. Resolves when the
   * server has agreed, however long there is no connection. Rejects with a {@link RealtimeError}, e.g. `forbidden`,
   * `user_mismatch`, or `closing` when the client disconnects first; the promise may be ignored.
   *
   * @param userId - default: the user the server knows
   * @param metadata - what others are shown, at most 1 KiB of JSON by default
   */
  join(userId?: string, metadata?: unknown): Promise<void> {
    return promised((done) => this.#rooms.wishes.make(this.#rooms.room(this.#channel), 'join', userId, metadata, done));
  }

  /** Changes what others are shown. Rejects as {@link Presence.join}, and with `not_joined`. */
  update(metadata: unknown): Promise<void> {
    const room = this.#rooms.peek(this.#channel);
    return promised((done) =>
      room?.wish
        ? this.#rooms.wishes.make(room, 'update', room.wish.userId, metadata, done)
        : done(new RealtimeError('not_joined', 'join comes before update')),
    );
  }

  /** Ends the presence. Nothing happens if there is none. */
  leave(): Promise<void> {
    const room = this.#rooms.peek(this.#channel);
    const wish = room?.wish;
    return wish ? promised((done) => this.#rooms.wishes.end(room, wish, done)) : Promise.resolve();
  }

  /** Calls `cb` with each member: those who are there, and those who come. Returns how to stop that. */
  onJoin(cb: (member: Member) => void): () => void {
    return this.#listen('join', cb);
  }

  /** Calls `cb` with each member that leaves. */
  onLeave(cb: (member: Member) => void): () => void {
    return this.#listen('leave', cb);
  }

  /** Calls `cb` with each member whose metadata has changed. */
  onUpdate(cb: (member: Member) => void): () => void {
    return this.#listen('update', cb);
  }

  /** Who is there, while anyone listens or has joined here. */
  members(): Member[] {
    return this.#rooms.peek(this.#channel)?.roster.members() ?? [];
  }

  #listen(change: Change, cb: (member: Member) => void): () => void {
    const room = this.#rooms.room(this.#channel);
    const off = room.roster.listen(change, cb);
    this.#rooms.sync(room);
    return () => {
      off();
      queueMicrotask(() => this.#rooms.sync(room)); // many stop listening only to begin again
    };
  }
}
