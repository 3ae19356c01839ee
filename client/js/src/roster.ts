import type { RealtimePresence } from './channel.js';
import { listen, tell, type Listener } from './listen.js';

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
  members(): Member[];
  /** Adds a listener; one for joins is told, in a moment, who is there already. Returns how to remove it. */
  on_(change: Change, cb: Listener<Member>): () => void;
  /** Takes an event, and tells everybody if it is a change. */
  apply_(event: RealtimePresence): void;
  /** Takes the whole roster, and tells everybody in what it differs from the one before. */
  replace_(members: Member[]): void;
  /** Forgets everybody, as nobody is told of them any more. */
  clear_(): void;
}

/** @param any - told of each change, as it is one to the roster */
export function createRoster(channel: string, any: (event: RealtimePresence) => void): Roster {
  const there = new Map<string, Member>();
  const on: Record<Change, Set<Listener<Member>>> = { 'presence.join': new Set(), 'presence.leave': new Set(), 'presence.update': new Set() };

  const roster: Roster = {
    known_: false,
    listeners_: 0,
    members: () => [...there.values()],
    on_(change, cb) {
      let off: (() => void) | undefined = () => {};
      roster.listeners_++;
      queueMicrotask(() => {
        if (!off) return;
        off = listen(on[change])(cb);
        if (change === 'presence.join') for (const member of roster.members()) tell(new Set([cb]), member);
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
    replace_(members) {
      roster.known_ = true;
      const named = new Set(members.map(({ userId }) => userId));
      const take = (event: Change, { userId, metadata, lastSeen }: Member): void =>
        roster.apply_({ event, channel, userId, metadata, ts: lastSeen });
      for (const member of roster.members()) if (!named.has(member.userId)) take('presence.leave', member);
      for (const member of members) take('presence.join', member);
    },
    clear_() {
      roster.known_ = false;
      there.clear();
    },
  };
  return roster;
}
