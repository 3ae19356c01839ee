import type { Channel } from './channel.js';
import { RealtimeError } from './errors.js';
import type { Done, Outbox } from './outbox.js';

/** A wish to be present. */
export interface Wish {
  userId: string | undefined;
  metadata: unknown;
  /** Whether the server has agreed; it is then repeated on each connection. */
  ok?: boolean;
  /** The wish it took the place of, which is back if it is refused. */
  before?: Wish | undefined;
}

/** Has the server know who wants to be present where, on each connection anew. */
export class Wishes {
  #outbox: Outbox;
  #sync: (room: Channel) => void;
  #report: (error: Error) => void;
  #waiting = new Map<Done, Channel>(); // for an answer, of this connection or another

  /**
   * @param sync - called when a channel has got a wish, or lost it
   * @param report - told of refusals that nobody waits for
   */
  constructor(outbox: Outbox, sync: (room: Channel) => void, report: (error: Error) => void) {
    this.#outbox = outbox;
    this.#sync = sync;
    this.#report = report;
  }

  /** Joins or updates. */
  make(room: Channel, op: 'join' | 'update', userId: string | undefined, metadata: unknown, done: Done): void {
    JSON.stringify(metadata); // throws before anything is changed
    const wish = (room.wish = { userId, metadata, before: room.wish });
    this.#waiting.set(done, room);
    this.#sync(room);
    if (this.#outbox.open) this.#ask(room, op, wish, [done]);
  }

  /** Leaves. Without a connection nobody is present, so there is nothing to be said. */
  end(room: Channel, { userId }: Wish, done: Done): void {
    room.wish = undefined;
    this.#waiting.set(done, room);
    if (this.#outbox.open) {
      this.#outbox.add({ op: 'leave', channel: room.name, userId }, lane(room), (error) =>
        this.#settle([done], error?.code === 'not_joined' ? undefined : error),
      );
    } else this.cut();
    this.#sync(room);
  }

  /** Repeats what holds for a channel, on a new connection. */
  restore(room: Channel): void {
    const dones = [...this.#waiting].filter(([, of]) => of === room).map(([done]) => done);
    if (room.wish) this.#ask(room, 'join', room.wish, dones);
  }

  /** The connection is gone, and with it the presence of those who wish for none. */
  cut(): void {
    for (const [done, room] of this.#waiting) if (!room.wish) this.#settle([done]);
  }

  /** There will be no other connection for now: what has not been agreed to is refused. */
  fail(error: RealtimeError): void {
    for (const [done, room] of this.#waiting) {
      this.#back(room);
      this.#settle([done], error);
    }
  }

  #ask(room: Channel, op: 'join' | 'update', wish: Wish, dones: Done[]): void {
    const { userId, metadata } = wish;
    this.#outbox.add({ op, channel: room.name, userId, metadata }, lane(room), (error) => {
      if (!error) {
        wish.ok = true;
        wish.before = undefined;
      } else if (wish.ok) this.#report(error);
      else if (room.wish === wish) {
        this.#back(room);
        if (room.wish && op === 'join') this.#ask(room, op, room.wish, []);
      }
      this.#settle(dones, error);
    });
  }

  /** Goes back to the last wish that was agreed to. */
  #back(room: Channel): void {
    while (room.wish && !room.wish.ok) room.wish = room.wish.before;
    this.#sync(room);
  }

  #settle(dones: Done[], error?: RealtimeError): void {
    for (const done of dones) if (this.#waiting.delete(done)) done(error);
  }
}

function lane(room: Channel): string {
  return 'presence ' + room.name;
}
