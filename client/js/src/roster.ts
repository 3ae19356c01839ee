import { call, listen, tell, type Listener } from './listen.js';

/** A user who is present in a channel. */
export interface Member {
  userId: string;
  /** What the member's last join or update said. */
  metadata?: unknown;
  /** When the member last did something, in milliseconds since the Unix epoch. */
  lastSeen: number;
}

/** What can happen to a member. */
export type Change = 'join' | 'leave' | 'update';

/** Who is present in a channel, as far as the listeners have been told. */
export class Roster {
  /** Whether the server has said who is there. */
  known = false;
  /** How many listen. */
  listeners = 0;
  #members = new Map<string, Member>();
  #on: Record<Change, Set<Listener<Member>>> = { join: new Set(), leave: new Set(), update: new Set() };
  #report: (change: Change, member: Member) => void;

  /** @param report - told of changes that no single event of the server stands for */
  constructor(report: (change: Change, member: Member) => void) {
    this.#report = report;
  }

  members(): Member[] {
    return [...this.#members.values()];
  }

  /** Adds a listener; one for joins is told, in a moment, who is there already. Returns how to remove it. */
  listen(change: Change, cb: Listener<Member>): () => void {
    let off: (() => void) | undefined = () => {};
    this.listeners++;
    queueMicrotask(() => {
      if (!off) return;
      off = listen(this.#on[change], cb);
      if (change === 'join') for (const member of this.members()) call(cb, member);
    });
    return () => {
      if (!off) return;
      off();
      off = undefined;
      this.listeners--;
    };
  }

  /** Takes one change; false where it changes nothing. */
  apply(change: Change, member: Member): boolean {
    const { userId } = member;
    const old = this.#members.get(userId);
    if (change === 'leave') {
      if (!old) return false;
      this.#members.delete(userId);
      tell(this.#on.leave, old);
      return true;
    }
    this.#members.set(userId, member);
    if (old && JSON.stringify(old.metadata) === JSON.stringify(member.metadata)) return false;
    tell(this.#on[old ? 'update' : 'join'], member);
    return true;
  }

  /** Takes the whole roster, and reports in what it differs from the one before. */
  replace(members: Member[]): void {
    this.known = true;
    const there = new Set(members.map(({ userId }) => userId));
    for (const member of this.members()) if (!there.has(member.userId)) this.#change('leave', member);
    for (const member of members) this.#change(this.#members.has(member.userId) ? 'update' : 'join', member);
  }

  /** Forgets everybody, as nobody is told of them any more. */
  clear(): void {
    this.known = false;
    this.#members.clear();
  }

  #change(change: Change, member: Member): void {
    if (this.apply(change, member)) this.#report(change, member);
  }
}
