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
export type Change = 'join' | 'leave' | 'update';

/** Who is present in a channel, as far as the listeners have been told. */
export interface Roster {
  /** Whether the server has said who is there. */
  known_: boolean;
  /** How many listen. */
  listeners_: number;
  members(): Member[];
  /** Adds a listener; one for joins is told, in a moment, who is there already. Returns how to remove it. */
  listen_(change: Change, cb: Listener<Member>): () => void;
  /** Takes one change, and gives what it was to those who are told; undefined where it changes nothing. */
  apply_(change: Change, member: Member): Change | undefined;
  /** Takes the whole roster, and reports in what it differs from the one before. */
  replace_(members: Member[]): void;
  /** Forgets everybody, as nobody is told of them any more. */
  clear_(): void;
}

/** @param report - told of changes that no single event of the server stands for */
export function createRoster(report: (change: Change, member: Member) => void): Roster {
  const there = new Map<string, Member>();
  const on: Record<Change, Set<Listener<Member>>> = { join: new Set(), leave: new Set(), update: new Set() };
  const change = (kind: Change, member: Member): void => {
    const told = roster.apply_(kind, member);
    if (told) report(told, member);
  };

  const roster: Roster = {
    known_: false,
    listeners_: 0,
    members: () => [...there.values()],
    listen_(kind, cb) {
      let off: (() => void) | undefined = () => {};
      roster.listeners_++;
      queueMicrotask(() => {
        if (!off) return;
        off = listen(on[kind])(cb);
        if (kind === 'join') for (const member of roster.members()) tell(new Set([cb]), member);
      });
      return () => {
        if (!off) return;
        off();
        off = undefined;
        roster.listeners_--;
      };
    },
    apply_(kind, member) {
      const { userId, metadata } = member;
      const old = there.get(userId);
      if (kind === 'leave') {
        if (!old) return undefined;
        there.delete(userId);
        member = old; // with what it said last
      } else {
        there.set(userId, member);
        if (old && JSON.stringify(old.metadata) === JSON.stringify(metadata)) return undefined;
        kind = old ? 'update' : 'join';
      }
      tell(on[kind], member);
      return kind;
    },
    replace_(members) {
      roster.known_ = true;
      const named = new Set(members.map(({ userId }) => userId));
      for (const member of roster.members()) if (!named.has(member.userId)) change('leave', member);
      for (const member of members) change('join', member);
    },
    clear_() {
      roster.known_ = false;
      there.clear();
    },
  };
  return roster;
}
