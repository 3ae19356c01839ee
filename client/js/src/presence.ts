import type { Channel, Wish } from './channel.js';
import { RealtimeError } from './errors.js';
import type { Done } from './outbox.js';
import type { Change, Member } from './roster.js';

/** What a handle needs of its client. */
export interface Rooms {
  /** The channel of a name, made if need be. */
  room(name: string): Channel;
  /** The channel of a name, if anyone uses it. */
  peek(name: string): Channel | undefined;
  /** Makes the wire's subscription what the channel's users want. */
  sync(channel: Channel): void;
  /** Sends an operation that outlives the connection. */
  ask(op: object, done: Done): void;
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
   * Makes the user present, on this connection and those that follow it, until {@link Presence.leave}.
   * Rejects with a {@link RealtimeError}, e.g. `forbidden` or `user_mismatch`; the promise may be ignored.
   *
   * @param userId - default: the user the server knows
   * @param metadata - what others are shown, at most 1 KiB of JSON by default
   */
  join(userId?: string, metadata?: unknown): Promise<void> {
    return this.#wish('join', { userId, metadata, ok: false });
  }

  /** Changes what others are shown. Rejects as {@link Presence.join}, and with `not_joined`. */
  update(metadata: unknown): Promise<void> {
    const wish = this.#rooms.peek(this.#channel)?.wish;
    return wish
      ? this.#wish('update', { ...wish, metadata })
      : promised((done) => done(new RealtimeError('not_joined', 'join comes before update')));
  }

  /** Ends the presence. Nothing happens if there is none. */
  leave(): Promise<void> {
    const room = this.#rooms.peek(this.#channel);
    const wish = room?.wish;
    if (!wish) return Promise.resolve();
    return promised((done) => {
      room.wish = undefined;
      const op = { op: 'leave', channel: this.#channel, userId: wish.userId };
      // Without a session, and without a connection, nobody is present.
      this.#rooms.ask(op, (error) => done(error && ['not_joined', 'closing'].includes(error.code) ? undefined : error));
      this.#rooms.sync(room);
    });
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

  #wish(op: string, wish: Wish): Promise<void> {
    return promised((done) => {
      const { userId, metadata } = wish;
      const frame = { op, channel: this.#channel, userId, metadata };
      JSON.stringify(frame); // throws before anything is changed
      const room = this.#rooms.room(this.#channel);
      const before = room.wish;
      room.wish = wish;
      this.#rooms.sync(room);
      this.#rooms.ask(frame, (error) => {
        if (!error) wish.ok = true;
        else if (room.wish === wish) {
          room.wish = before?.ok ? before : undefined;
          this.#rooms.sync(room);
        }
        done(error);
      });
    });
  }

  #listen(change: Change, cb: (member: Member) => void): () => void {
    const room = this.#rooms.room(this.#channel);
    const off = room.roster.listen(change, cb);
    this.#rooms.sync(room);
    return () => {
      off();
      this.#rooms.sync(room);
    };
  }
}
