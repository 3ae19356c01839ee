import { createAsker, type Asker } from './asker.js';
import { asError, RealtimeError } from './errors.js';
import type { Done, Outbox } from './outbox.js';
import type { Frame } from './wire.js';

/** Who wants to be present, and what others are to be shown. */
export interface Wish {
  userId?: string | undefined;
  metadata?: unknown;
  /** Which join it is, or an update of: another object each time. */
  join_?: object | undefined;
}

/** An object through which somebody joins and leaves. */
export interface Owner {
  /** Somebody has joined through it, and leaves nobody else's presence. */
  joined_?: boolean;
}

/**
 * The client's own presence in a channel: has the server know the last wish, on each connection again. It asks one question at a
 * time; of the wishes that come meanwhile, only the last is sent.
 */
export interface OwnPresence {
  /** Whether something is asked, or waits for its turn. */
  readonly asker_: Asker;
  /** Whether anybody is present, or may be soon. */
  wanted_(): boolean;
  /** Changes the wish, or ends it. Without one, there is something to do for a join only. */
  want_(own: Partial<Wish> | undefined, done: Done, by: Owner): void;
  /** Tells the server the wish, if it does not know it. */
  sync_(): void;
  /** The connection is gone, and with it the presence of those who wish for none. */
  cut_(): void;
  /** There will be no other connection for now: what has not been agreed to is refused. */
  fail_(error: RealtimeError): void;
  /** The server has ended the presence of a user: for good, or until it is asked again. */
  lose_(frame: Frame): void;
}

/**
 * @param sync - called where there may be something to ask for
 * @param refuse - told of what is refused, or taken away, where nobody waits for an answer
 */
export function createOwnPresence(
  channel: string, outbox: Outbox, sync: () => void, refuse: (why: Partial<RealtimeError>) => void,
): OwnPresence {
  const waiting = new Set<Done>(); // to be told what has come of their wishes
  const owners = new Set<Owner>(); // through which the wish was made: who has joined and not left
  let wish: Wish | undefined;
  let agreed: Wish | undefined; // the last wish that the server has agreed to
  let joined: boolean | undefined; // on this connection

  const asker = createAsker(channel, outbox, sync);
  /** What the server knows of the wish. */
  const had = (): Wish | undefined => (joined ? agreed : undefined);
  const settle = (error?: RealtimeError, many = [...waiting]): void => {
    for (const done of many) if (waiting.delete(done)) done(error);
  };

  return {
    asker_: asker,
    wanted_: () => !!(wish || had() || asker.state_ > 1),
    want_(own, done, by) {
      const was = owners.has(by);
      if (!own) {
        owners.delete(by);
        if (by.joined_ && owners.size) return done();
        owners.clear();
      } else if (own.join_) {
        if (wish?.userId !== own.userId) owners.clear(); // somebody else is present from now on
        owners.add(by);
        by.joined_ = true;
      } else if (!wish) return done(new RealtimeError('not_joined'));
      wish = own && { ...wish, ...own };
      waiting.add((error) => {
        if (error && !was) owners.delete(by);
        done(error);
      });
      sync();
    },
    sync_() {
      if (asker.state_) return;
      if (wish === had()) {
        agreed = wish; // without a connection nobody is present
        return settle();
      }
      let own: Wish | undefined;
      let old: Wish | undefined;
      let many: Done[];
      const make = (): object | undefined => {
        [own, old, many] = [wish, had(), [...waiting]];
        const op = !own ? 'leave' : own.join_ === old?.join_ ? 'update' : 'join';
        return own === old ? undefined : { op, userId: (own ?? old)!.userId, metadata: own?.metadata };
      };
      asker.ask_(make, (error) => {
        if (!error) {
          agreed = own;
          // Who joins as another user is no longer who it was.
          if (old?.userId && own?.userId && old.userId !== own.userId) asker.ask_(() => ({ op: 'leave', userId: old!.userId }), () => {});
        } else if (own && own === agreed) refuse(error); // had before the connection was lost: nobody waits
        else if (wish === own) wish = agreed;
        joined ||= own === agreed;
        settle(error, many);
      });
    },
    cut_() {
      joined = false;
      asker.state_ = 0;
    },
    fail_(error) {
      wish = agreed;
      settle(error);
      sync();
    },
    lose_(frame) {
      const { userId, retry } = frame;
      const old = had();
      if (!old || (old.userId ?? userId) !== userId) return; // of somebody who is not present over this connection
      agreed = undefined;
      // Who has joined since the server agreed last is answered by the server.
      if (wish?.join_ === old.join_ && !retry) {
        wish = undefined;
        const error = asError(frame);
        refuse(error);
        settle(error);
      }
      sync();
    },
  };
}
