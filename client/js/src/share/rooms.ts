import type { Frame } from '../wire.js';
import type { Op } from './hub.js';
import { createRing, type Ring } from './ring.js';

/** What has come of a channel, and the cursor after it; no text where nothing of the channel has come up to the cursor. */
type Entry = [cursor: string, text: string];

/** A tab's part in the one subscription that the server has of a channel. */
interface Seat {
  presence_: boolean;
  /** How many of its subscribes have no answer yet. */
  asked_: number;
  /** Whether it is subscribed whatever becomes of them. */
  held_: boolean;
}

interface Room {
  /** By tab; never empty. */
  seats_: Map<string, Seat>;
  /** What has come, without a gap. */
  kept_: Ring<Entry>;
}

/** The channels of the tabs. The server has one subscription for each, as long as any tab has a seat. */
export interface Rooms {
  /**
   * A tab subscribes: completes what to ask the server for, by whether any tab wants presence. Returns how to take the answer. That
   * completes the answer, by the cursor at which the subscription begins, and returns what has come since; undefined where that is not known.
   */
  add_(tab: string, op: Op): (frame: Frame, failed: boolean) => string[] | undefined;
  /** A tab goes. Returns whether it was the last one. */
  leave_(tab: string, channel: string): boolean;
  /** A tab goes out of all channels. Returns those in which it was the last one. */
  leaveAll_(tab: string): string[];
  /** The server has ended a subscription, but not what was asked for since. */
  end_(channel: string): void;
  /** Takes an event of a channel, or a cursor up to which nothing else has come, for those who come later. */
  take_(frame: Frame, line: string): void;
}

export function createRooms(): Rooms {
  const most = 4 << 20; // UTF-16 units to keep, of all channels together

  const rooms = new Map<string, Room>();

  const leave_ = (tab: string, channel: string): boolean => {
    const seats = rooms.get(channel)?.seats_;
    seats?.delete(tab);
    return seats?.size === 0 && rooms.delete(channel);
  };
  /** What has come since a subscription that the server has confirmed begins. */
  const missed = (frame: Frame, { channel, since }: Op): string[] | undefined => {
    const room = rooms.get(channel);
    if (frame.cursor) {
      // It begins just now, for all.
      if (room) (room.kept_ = createRing()).add_([frame.cursor, ''], 0);
      return [];
    }
    // The server had it already, and does not say where this tab begins.
    const kept = room?.kept_.entries_ ?? [];
    const cursors = kept.map(([cursor]) => cursor);
    frame.cursor = (since ?? cursors.at(-1))!;
    const place = cursors.lastIndexOf(frame.cursor);
    return since && place < 0 ? undefined : kept.slice(place + 1).flatMap(([, text]) => text || []);
  };

  return {
    leave_,
    add_(tab, op) {
      const { channel } = op;
      const room = rooms.get(channel) ?? { seats_: new Map<string, Seat>(), kept_: createRing<Entry>() };
      const seat = room.seats_.get(tab) ?? { presence_: false, asked_: 0, held_: false };
      rooms.set(channel, room);
      room.seats_.set(tab, seat);
      seat.presence_ = !!op.presence;
      seat.asked_++;
      op.presence = [...room.seats_.values()].some((one) => one.presence_);
      return (frame, failed) => {
        seat.asked_--;
        seat.held_ ||= !failed;
        if (!failed) return missed(frame, op);
        if (!op.rewind && !op.rewindMs) seat.presence_ = false; // as its client takes it
        if (!seat.held_ && !seat.asked_ && room.seats_.get(tab) === seat) leave_(tab, channel);
        return [];
      };
    },
    leaveAll_: (tab) => [...rooms.keys()].filter((channel) => leave_(tab, channel)),
    end_(channel) {
      for (const [tab, seat] of rooms.get(channel)?.seats_ ?? []) {
        seat.held_ = false;
        if (!seat.asked_) leave_(tab, channel);
      }
    },
    take_({ event, channel, cursor, id = cursor }, line) {
      if (!id || event === 'presence.state') return;
      for (const [name, { kept_: kept }] of rooms)
        if ((channel ?? name) === name) kept.add_([id, channel ? line : ''], line.length, most / rooms.size);
    },
  };
}
