import { createChannel, wantsPresence, type Channel, type RealtimeEvent } from './channel.js';
import { asError, type RealtimeError } from './errors.js';
import { tell } from './listen.js';
import type { Answer, Outbox } from './outbox.js';
import type { Limits } from './pace.js';
import type { Change, Member } from './roster.js';
import { createWishes, type Wishes } from './wishes.js';

/** A channel of which something was missed, and why: `evicted`, `epoch`, `unknown` or `backend`. */
export interface RealtimeReset {
  channel: string;
  reason: string;
}

/** Whatever a server says. */
export interface Frame extends Answer {
  channel?: string;
  id?: string;
  from?: string;
  src?: string;
  userId?: string;
  metadata?: unknown;
  ts?: number;
  limits?: Limits;
  members?: Member[];
  retryMs?: number;
  code?: string;
}

/** The channels that are in use: has the server know of them, on each connection anew, and takes what it says of them. */
export interface Rooms {
  /** The channel of a name, if anyone uses it. */
  peek_(name: string): Channel | undefined;
  /** The channel of a name, made if need be. */
  room_(name: string): Channel;
  /** Uses a channel; returns how to end that, given how to begin it. */
  use_(name: string, begin: (room: Channel) => () => void): () => void;
  wishes_: Wishes;
  /** The connection is new: asks for all there is. */
  restore_(): void;
  /** The connection is gone. */
  cut_(): void;
  /** Everything up to the cursor has come, in every channel that is subscribed to. */
  complete_(cursor: string | undefined): void;
  /** Takes an event of a channel. */
  event(frame: Frame): void;
}

/**
 * @param report - told of refusals
 * @param any - told of every event
 * @param missed - told of channels of which something was missed
 */
export function createRooms(
  outbox: Outbox, report: (error: Error) => void, any: (event: RealtimeEvent) => void, missed: (reset: RealtimeReset) => void,
): Rooms {
  const channels = new Map<string, Channel>();

  /** Makes the wire's subscription what the channel's users want. */
  const sync = (room: Channel): void => {
    const { name } = room;
    if (channels.get(name) !== room) return;
    const wanted = wantsPresence(room);
    const used = wanted || room.messages_.size > 0;
    const more = room.asked_ !== undefined;
    if (!used) channels.delete(name);
    if (!outbox.isOpen_()) return;
    if (used) {
      // A subscription that goes on where another ended is not told who is there; to learn it, presence is asked for behind it.
      const presence = wanted && (more || !room.cursor || room.roster_.known_);
      if (room.asked_ !== presence && !room.asking_) ask(room, presence, more); // else the answer leads here again
    } else if (more) outbox.add_({ op: 'unsubscribe', channel: name }, () => {}, name);
  };
  const ask = (room: Channel, presence: boolean, more: boolean): void => {
    const { name, cursor } = room;
    room.asked_ = presence;
    room.asking_ = true;
    if (!presence) room.roster_.clear_();
    const op = { op: 'subscribe', channel: name, since: more ? undefined : cursor, presence: presence || (more ? false : undefined) };
    const answered = (error: RealtimeError | undefined, answer?: Answer): void => {
      room.asking_ = false;
      if (error) {
        room.asked_ = room.live_ ? false : undefined;
        return report(error);
      }
      if (!room.live_) {
        room.live_ = true;
        room.cursor = answer!.cursor ?? room.cursor;
        if (answer!.state === 'reset') reset(room, answer!);
      }
      sync(room);
    };
    outbox.add_(op, answered, name);
  };
  const reset = (room: Channel, { cursor, reason = 'unknown' }: Answer): void => {
    room.cursor = cursor ?? room.cursor;
    missed({ channel: room.name, reason });
  };
  /** The server has ended a subscription. Whoever wants it again asks anew. */
  const revoked = (room: Channel, frame: Frame): void => {
    room.live_ = false;
    room.asked_ = undefined;
    room.roster_.replace_([]); // nobody is told of them any more
    room.roster_.clear_();
    report(asError(frame));
  };
  /** Whether a presence event says anything new. */
  const present = (room: Channel, { event, userId = '', metadata, ts = 0 }: Frame): boolean => {
    const change = /^presence\.(join|update|leave)$/.exec(event)?.[1] as Change | undefined;
    return !!(change && wantsPresence(room) && room.roster_.apply_(change, { userId, metadata, lastSeen: ts }));
  };

  const rooms: Rooms = {
    peek_: (name) => channels.get(name),
    room_(name) {
      const room = channels.get(name) ?? createChannel(name, any);
      channels.set(name, room);
      return room;
    },
    use_(name, begin) {
      const room = rooms.room_(name);
      const off = begin(room);
      sync(room);
      return () => {
        off();
        queueMicrotask(() => sync(room)); // many stop listening only to begin again
      };
    },
    wishes_: createWishes(outbox, sync, report),
    restore_() {
      for (const room of channels.values()) {
        sync(room);
        rooms.wishes_.restore_(room);
      }
    },
    cut_() {
      for (const room of channels.values()) {
        room.live_ = room.asking_ = false;
        room.asked_ = undefined;
      }
      rooms.wishes_.cut_();
    },
    complete_(cursor) {
      for (const room of channels.values()) if (room.live_ && cursor) room.cursor = cursor;
    },
    event(frame) {
      const { event, id, channel } = frame;
      const room = channels.get(channel!);
      if (event === 'left' && room && rooms.wishes_.lose_(room, frame.userId)) {
        if (room.live_) sync(room); // else it would be asked for again
        return report(asError(frame));
      }
      if (!room?.live_) return; // of a subscription that is over
      if (event === 'reset') return reset(room, frame);
      if (event === 'unsubscribed') return revoked(room, frame);
      if (event === 'presence.state') return wantsPresence(room) ? room.roster_.replace_(frame.members ?? []) : undefined;
      room.cursor = id || room.cursor;
      const made = frame as unknown as RealtimeEvent;
      if (made.event === 'message') tell(room.messages_, made);
      if (made.event === 'message' || present(room, frame)) any(made);
    },
  };
  return rooms;
}
