import type { RealtimePresence } from './channel.js';
import { listen, tell, type Listener } from './listen.js';
import type { Frame } from './wire.js';

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

/** Who is present in a channel, as far as the listeners have been told. */
export interface Roster {
  /** Whether the server has said who is there. */
  known_: boolean;
  /** How many listen. */
  listeners_: number;
  members_(): Member[];
  /** Adds a listener; one for joins is told, in a moment, who is there already. Returns how to remove it. */
  on_(change: Change, cb: Listener<Member>): () => void;
  /** Takes an event, and tells everybody if it is a change. */
  apply_(event: RealtimePresence): void;
  /** Takes a part of the whole roster. With the last one, everybody is told in what it differs from the one before. */
  take_(part: Frame): void;
  /** What has come of an unfinished roster counts no more. */
  cut_(): void;
  /** Nobody is told any more who is there: for the listeners, everybody leaves. */
  forget_(): void;
  /** Forgets everybody, as nobody listens. */
  clear_(): void;
}

/** @param any - told of each change, as it is one to the roster */
export function createRoster(channel: string, any: (event: RealtimePresence) => void): Roster {
  const there = new Map<string, Member>();
  const on: Record<Change, Set<Listener<Member>>> = { 'presence.join': new Set(), 'presence.leave': new Set(), 'presence.update': new Set() };
  let parts: Member[][] | undefined; // of a roster that is still coming

  const replace = (members: Member[]): void => {
    const named = new Set(members.map(({ userId }) => userId));
    const take = (event: Change, { userId, metadata, lastSeen }: Member): void =>
      roster.apply_({ event, channel, userId, metadata, ts: lastSeen });
    for (const member of roster.members_()) if (!named.has(member.userId)) take('presence.leave', member);
    for (const member of members) take('presence.join', member);
  };

  const roster: Roster = {
    known_: false,
    listeners_: 0,
    members_: () => [...there.values()],
    on_(change, cb) {
      let off: (() => void) | undefined = () => {};
      roster.listeners_++;
      queueMicrotask(() => {
        if (!off) return;
        off = listen(on[change])(cb);
        if (change === 'presence.join') for (const member of roster.members_()) tell(new Set([cb]), member);
      });
      return () => {
        if (!off) return;
        off();
        off = undefined;
        roster.listeners_--;
      };
    },
    apply_(made) {
      let { event, userId, metadata, ts } = made;
      const old = there.get(userId);
      let member: Member = { userId, metadata, lastSeen: ts! };
      if (!on[event]) return; // of a kind that is not known here
      if (event === 'presence.leave') {
        if (!old) return;
        there.delete(userId);
        member = old; // with what it said last
      } else {
        there.set(userId, member);
        if (old && JSON.stringify(old.metadata) === JSON.stringify(metadata)) return;
        event = old ? 'presence.update' : 'presence.join';
      }
      tell(on[event], member);
      any({ ...made, event });
    },
    take_({ members, part = 0, more }) {
      if (!part) {
        parts = [];
        roster.known_ = false; // until all of it has come
      }
      if (parts?.length !== part) return roster.cut_(); // the one it belongs to began before anybody asked here
      parts.push(members!);
      if (more) return;
      replace(parts.flat());
      roster.cut_();
      roster.known_ = true;
    },
    cut_() {
      parts = undefined;
    },
    forget_() {
      replace([]);
      roster.clear_();
    },
    clear_() {
      roster.cut_();
      roster.known_ = false;
      there.clear();
    },
  };
  return roster;
}
