import type { RealtimeEvent, RealtimePresence } from './channel.js';
import { tell, type Listener } from './listen.js';
import type { Change, Member } from './member.js';
import type { Frame } from './wire.js';

/** Who is present in a channel, as far as the listeners have been told. */
export interface Roster {
  /** Whether the server has said who is there, and every change since. */
  known_: boolean;
  /** All who listen. */
  readonly watching_: Set<Listener<Member>>;
  /** Adds a listener for those who come, change or go. Returns how to remove it. */
  on_(change: Change, cb: Listener<Member>): () => void;
  members_(): Member[];
  /** Takes a part of a whole roster, or what has happened to a member. */
  take_(frame: Frame): void;
  /** What has not come yet of a roster will not come: the subscription begins again. */
  cut_(): void;
  /** Forgets everybody. Where the listeners are `told`, everybody leaves, for them. */
  clear_(told?: boolean): void;
}

/** @param any - told of every change */
export function createRoster(channel: string, any: Set<Listener<RealtimeEvent>>): Roster {
  const there = new Map<string, Member>();
  const on: Record<Change, Set<Listener<Member>>> = { 'presence.join': new Set(), 'presence.leave': new Set(), 'presence.update': new Set() };
  const watching = new Set<Listener<Member>>(); // all of them
  let parts: Member[][] | undefined; // of a roster that is still coming

  const members = (): Member[] => [...there.values()];
  /** Takes what has happened to a member, and tells everybody if it is a change. */
  const apply = (made: RealtimePresence): void => {
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
    tell(any, { ...made, event });
  };
  /** Takes who is there: tells everybody in what that differs from who was. */
  const replace = (now: Member[]): void => {
    const each = (event: Change) => ({ userId, metadata, lastSeen }: Member) => apply({ event, channel, userId, metadata, ts: lastSeen });
    const gone = new Map(there);
    for (const { userId } of now) gone.delete(userId);
    gone.forEach(each('presence.leave'));
    now.forEach(each('presence.join'));
  };

  const self: Roster = {
    known_: false,
    watching_: watching,
    on_(change, cb) {
      const own: Listener<Member> = (member) => cb(member);
      watching.add(own);
      // Later, as a listener may be added in the middle of a change.
      queueMicrotask(() => {
        if (!watching.has(own)) return;
        on[change].add(own);
        if (change === 'presence.join') for (const member of members()) tell(new Set([own]), member);
      });
      return () => {
        watching.delete(own);
        on[change].delete(own);
      };
    },
    members_: members,
    take_(frame) {
      const { event, members, part = 0, more } = frame;
      if (event !== 'presence.state') return apply(frame as unknown as RealtimePresence);
      if (!part) {
        parts = [];
        self.known_ = false; // until all of it has come
      }
      if (parts?.length !== part) return void (parts = undefined); // the one it belongs to began before anybody asked here
      parts.push(members!);
      if (more) return;
      replace(parts.flat());
      parts = undefined;
      self.known_ = true;
    },
    cut_() {
      parts = undefined;
    },
    clear_(told) {
      if (told) replace([]);
      parts = undefined;
      self.known_ = false;
      there.clear();
    },
  };
  return self;
}
