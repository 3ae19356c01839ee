import { asError, type RealtimeError } from './errors.js';
import type { Done, Outbox } from './outbox.js';
import type { Roster } from './roster.js';
import type { Frame } from './wire.js';

/** What the server has been asked for. */
const enum Scope {
  Nothing,
  Messages,
  Presence,
}

/** What a part of a channel tells the channel. */
export interface Owner {
  /** An answer has come: there may be something else to ask for. */
  sync_(): void;
  /** Something is refused, or taken away, and nobody waits for an answer. */
  refuse_(error: RealtimeError): void;
  /** Something was missed. */
  missed_(reason: string): void;
}

/**
 * The events of a channel: has the server send them, on each connection again, from the last one on. It asks one question at a
 * time, so that no answer is taken for that of another.
 */
export interface Subscription {
  /** Whether the server has been asked for nothing, and will not say anything. */
  idle_(): boolean;
  /** Somebody wants it who has not been refused yet. */
  renew_(): void;
  /** Asks for what is wanted, unless the server knows: events at all, and those of presence. */
  sync_(used: boolean, presence: boolean): void;
  /** The connection is gone. */
  cut_(): void;
  /** Everything up to the cursor has come. */
  complete_(cursor: string | undefined): void;
  /** Takes note of an event; false for one that does not count. */
  takes_(event: Frame): boolean;
  /** It goes on after a gap. The server says who is there, where presence is wanted. */
  reset_(frame: Frame): void;
  /** The server has taken it away: for good, or until it is asked again. */
  lose_(frame: Frame): void;
}

export function createSubscription(channel: string, outbox: Outbox, roster: Roster, owner: Owner): Subscription {
  let cursor: string | undefined; // everything up to here has been delivered
  let live = false; // the server has confirmed it on this connection
  let asked = Scope.Nothing; // on this connection
  let asking: 0 | 1 | 2 = 0; // 1 while a question waits for its turn, 2 while it has no answer
  let used = false; // what is wanted: events at all
  let presence = false; // and those of presence
  let denied = false; // until somebody wants it again

  const begin = (frame: Frame, reset: boolean): void => {
    live = true;
    cursor = frame.cursor ?? cursor;
    if (!reset) return;
    roster.known_ = false; // what it has missed will not come, but a whole one
    owner.missed_(frame.reason ?? 'unknown');
  };
  // Where it goes on from a cursor, the server does not say who is there. To learn that, presence is asked for in a second step.
  const scope = (): Scope =>
    !used ? Scope.Nothing : presence && (asked || !cursor || roster.known_) ? Scope.Presence : Scope.Messages;
  /** What to ask for when it is this channel's turn, if that is still something else. */
  const ask = (): object | undefined => {
    const wanted = scope();
    if (wanted === asked || (denied && used)) return undefined;
    const again = !!asked;
    const since = again ? undefined : cursor;
    if (!presence) roster.clear_();
    asking = 2;
    asked = wanted;
    if (used) return { op: 'subscribe', channel, since, presence: wanted > 1 || (again ? false : undefined) };
    live = false;
    cursor = undefined;
    return { op: 'unsubscribe', channel };
  };
  const answered: Done = (error, answer) => {
    asking = 0;
    if (error || answer) denied = !!error;
    if (error) {
      asked = live ? Scope.Messages : Scope.Nothing;
      if (!live) roster.forget_();
      owner.refuse_(error);
    } else if (answer?.state && !live)
      // One that was taken away while the server was asked for more begins afresh, and not where it ended.
      begin(answer, answer.state === 'reset' || (answer.state === 'fresh' && !!cursor));
    owner.sync_();
  };

  const self: Subscription = {
    idle_: () => !asked && !asking,
    renew_() {
      denied = false;
    },
    sync_(...wanted) {
      [used, presence] = wanted;
      if (scope() === asked || asking || (denied && used) || !outbox.isOpen_()) return;
      asking = 1;
      outbox.turn_(ask, answered);
    },
    cut_() {
      live = denied = false;
      asking = 0;
      asked = Scope.Nothing;
      roster.cut_();
    },
    complete_(at) {
      if (live) cursor = at ?? cursor;
    },
    takes_({ event, id }) {
      self.complete_(id);
      return live && (event === 'message' || asked === Scope.Presence);
    },
    reset_(frame) {
      if (live) begin(frame, true);
    },
    lose_(frame) {
      if (!live) return;
      self.complete_(frame.cursor);
      live = false;
      denied = !frame.retry;
      if (asking < 2) asked = Scope.Nothing; // else the answer says
      roster.cut_();
      if (!denied) return owner.sync_();
      roster.forget_();
      owner.refuse_(asError(frame));
    },
  };
  return self;
}
