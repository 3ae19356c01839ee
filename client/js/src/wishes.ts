import type { Channel } from './channel.js';
import type { RealtimeError } from './errors.js';
import type { Done, Outbox } from './outbox.js';

/** A wish to be present. */
export interface Wish {
  userId: string | undefined;
  metadata: unknown;
  /** Whether the server has agreed; it is then repeated on each connection. */
  ok_?: boolean;
  /** The wish it took the place of, which is back if it is refused. */
  before_?: Wish | undefined;
}

/** Has the server know who wants to be present where, on each connection anew. */
export interface Wishes {
  /** Joins or updates. */
  make_(room: Channel, op: 'join' | 'update', userId: string | undefined, metadata: unknown, done: Done): void;
  /** Leaves. Without a connection nobody is present, so there is nothing to be said. */
  end_(room: Channel, wish: Wish, done: Done): void;
  /** The server lets a user be present no longer; false where that was not wished for here. */
  lose_(room: Channel, userId: string | undefined): boolean;
  /** Repeats what holds for a channel, on a new connection. */
  restore_(room: Channel): void;
  /** The connection is gone, and with it the presence of those who wish for none. */
  cut_(): void;
  /** There will be no other connection for now: what has not been agreed to is refused. */
  fail_(error: RealtimeError): void;
}

/**
 * @param sync - called when a channel has got a wish, or lost it
 * @param report - told of refusals that nobody waits for
 */
export function createWishes(outbox: Outbox, sync: (room: Channel) => void, report: (error: Error) => void): Wishes {
  const waiting = new Map<Done, Channel>(); // for an answer, of this connection or another

  const settle = (dones: Done[], error?: RealtimeError): void => {
    for (const done of dones) if (waiting.delete(done)) done(error);
  };
  /** Goes back to the last wish that was agreed to. */
  const back = (room: Channel): void => {
    while (room.wish_ && !room.wish_.ok_) room.wish_ = room.wish_.before_;
    sync(room);
  };
  const say = (op: string, room: Channel, { userId, metadata }: Partial<Wish>, done: Done): void =>
    outbox.add_({ op, channel: room.name, userId, metadata }, done, 'presence ' + room.name);
  const ask = (op: string, room: Channel, wish: Wish, dones: Done[]): void =>
    say(op, room, wish, (error) => {
      if (!error) {
        wish.ok_ = true;
        // Who joins as another user is no longer who it was.
        for (let { before_: old } = wish as Wish; old; old = old.before_)
          if (old.ok_ && old.userId && wish.userId && old.userId !== wish.userId) say('leave', room, { userId: old.userId }, () => {});
        wish.before_ = undefined;
      } else if (wish.ok_) report(error);
      else if (room.wish_ === wish) {
        back(room);
        if (room.wish_ && op === 'join') ask(op, room, room.wish_, []);
      }
      settle(dones, error);
    });

  const wishes: Wishes = {
    make_(room, op, userId, metadata, done) {
      JSON.stringify(metadata); // throws before anything is changed
      const wish = (room.wish_ = { userId, metadata, before_: room.wish_ });
      waiting.set(done, room);
      sync(room);
      if (outbox.isOpen_()) ask(op, room, wish, [done]);
    },
    end_(room, { userId }, done) {
      room.wish_ = undefined;
      waiting.set(done, room);
      if (outbox.isOpen_())
        say('leave', room, { userId }, (error) => settle([done], error?.code === 'not_joined' ? undefined : error));
      else wishes.cut_();
      sync(room);
    },
    lose_(room, userId) {
      const { wish_: wish } = room;
      if (!wish || (wish.userId ?? userId) !== userId) return false;
      room.wish_ = undefined;
      return true;
    },
    restore_(room) {
      if (room.wish_) ask('join', room, room.wish_, [...waiting.keys()].filter((done) => waiting.get(done) === room));
    },
    cut_() {
      for (const [done, room] of waiting) if (!room.wish_) settle([done]);
    },
    fail_(error) {
      for (const [done, room] of waiting) {
        back(room);
        settle([done], error);
      }
    },
  };
  return wishes;
}
