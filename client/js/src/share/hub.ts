import { parse } from '../errors.js';
import { createPace } from '../pace.js';
import type { Frame, Limits } from '../wire.js';
import { createRing } from './ring.js';

/** One thing said: to one tab, or to all. */
export type Line = [to: string | undefined, text: string];

/** An operation of a tab, or for one that has gone. */
interface Op {
  op: string;
  ref?: number;
  channel: string;
  cid?: string;
  since?: string;
  presence?: boolean;
  userId?: string | undefined;
}

interface Room {
  /** The tabs that subscribe, and whether with presence. */
  tabs_: Map<string, boolean>;
  /** Everything up to here has come. */
  cursor?: string;
  /** Where it begins in what is kept: before that, something may be missing. */
  begin_?: unknown;
}

/** Speaks for many tabs on one WebSocket. */
export interface Hub {
  /** A tab comes; false where it is there already. */
  add_(tab: string, cid: string): boolean;
  /** A tab goes. It leaves where it is present after the grace that a server gives an orderly close. */
  drop_(tab: string): void;
  /** Takes an operation of a tab. */
  op_(tab: string, text: string): void;
  /** Takes a frame of the server. */
  frame_(text: string): void;
  /** The connection is over. */
  close(): void;
}

/**
 * @param send - to the server
 * @param tell - to the tabs, in order
 * @param alone - a tab cannot be served here: it has to have a connection of its own
 */
export function createHub(
  limits: Omit<Limits, 'message'>, send: (text: string) => void, tell: (lines: Line[]) => void, alone: (tab: string) => void,
): Hub {
  const grace = 3_000; // ms

  const tabs = new Map<string, string>(); // and their client ids
  const rooms = new Map<string, Room>();
  const asked = new Map<number, { tab: string; op: Op; before_: boolean | undefined }>();
  const present = new Map<string, { tab: string; op: Op }>(); // by client, channel and user; how to leave
  const { entries_: ring, push_: push } = createRing<{ id: string; channel: string | undefined; text: string }>();
  const pace = createPace(limits);
  const queue: string[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  let lastRef = 0;

  const pump = (): void => {
    clearTimeout(timer);
    while (queue.length) {
      const wait = pace.take_();
      if (wait) return void (timer = setTimeout(pump, wait));
      send(queue.shift()!);
    }
  };
  /** @param before - whether with presence, where a tab that subscribes did so before */
  const ask = (tab: string, op: Op, before?: boolean): void => {
    asked.set(++lastRef, { tab, op, before_: before });
    queue.push(JSON.stringify({ ...op, ref: lastRef }));
    pump();
  };
  const keep = (id: string | undefined, channel: string | undefined, text: string): void => {
    if (!id) return;
    push({ id, channel, text }, text.length);
    for (const [name, room] of rooms) if (name === channel || !channel) room.cursor = id;
  };
  const unsubscribe = (tab: string, channel: string): boolean => {
    const room = rooms.get(channel);
    room?.tabs_.delete(tab);
    if (room?.tabs_.size) return false;
    rooms.delete(channel);
    return true;
  };
  const key = ({ cid, channel, userId }: Op): string => [cid, channel, userId].join('\n');

  /** What a subscription that others have already is told: where it begins, and what has come since. */
  const subscribed = ({ ref, channel, since }: Op): string[] | undefined => {
    const answer = { event: 'subscribed', ref, channel, state: 'fresh', cursor: rooms.get(channel)?.cursor };
    if (!since) return [JSON.stringify(answer)];
    const begin = rooms.get(channel)?.begin_;
    let i = ring.length - 1;
    while (i >= 0 && !(ring[i]!.id === since && (ring[i]!.channel ?? channel) === channel)) i = ring[i] === begin ? -1 : i - 1;
    if (i < 0) return undefined;
    const missed = ring.slice(i + 1).filter((entry) => entry.channel === channel);
    return [JSON.stringify({ ...answer, state: 'resumed', cursor: since }), ...missed.map(({ text }) => text)].filter(Boolean);
  };
  const answered = (frame: Frame, lines: Line[]): void => {
    const { tab, op, before_: before } = asked.get(frame.ref!)!;
    asked.delete(frame.ref!);
    const { ref, channel } = op;
    if (frame.event === 'subscribed' && frame.cursor === undefined) {
      const said = subscribed(op);
      if (!said) return alone(tab);
      return void lines.push(...said.map((line): Line => [tab, line]));
    }
    if (op.op === 'subscribe') {
      const room = rooms.get(channel);
      if (frame.event !== 'error') {
        keep(frame.cursor, channel, '');
        if (room) room.begin_ = ring.at(-1);
      } else if (before === undefined) unsubscribe(tab, channel);
      else if (room?.tabs_.has(tab)) room.tabs_.set(tab, before);
    }
    if (frame.code === 'channel_limit' && tabs.size > 1) return alone(tab);
    lines.push([tab, JSON.stringify({ ...frame, ref })]);
  };

  return {
    add_(tab, cid) {
      const more = !tabs.has(tab);
      tabs.set(tab, cid);
      return more;
    },
    drop_(tab) {
      if (!tabs.delete(tab)) return;
      for (const channel of [...rooms.keys()])
        if (rooms.get(channel)!.tabs_.has(tab) && unsubscribe(tab, channel)) ask(tab, { op: 'unsubscribe', channel });
      for (const [name, by] of present)
        if (by.tab === tab)
          setTimeout(() => {
            if (present.get(name) !== by) return; // who reloaded is back
            present.delete(name);
            ask(tab, by.op);
          }, grace);
    },
    op_(tab, text) {
      const cid = tabs.get(tab);
      if (!cid) return; // it has asked another leader
      const op = { ...(JSON.parse(text) as Op), cid };
      const { channel } = op;
      const name = key(op);
      if (op.op === 'subscribe') {
        const room = rooms.get(channel) ?? { tabs_: new Map() };
        rooms.set(channel, room);
        const before = room.tabs_.get(tab);
        room.tabs_.set(tab, !!op.presence);
        ask(tab, { ...op, presence: [...room.tabs_.values()].some(Boolean) }, before);
      } else if (op.op === 'unsubscribe' ? !unsubscribe(tab, channel) : op.op === 'leave' && (present.get(name)?.tab ?? tab) !== tab)
        tell([[tab, JSON.stringify({ event: 'ok', ref: op.ref })]]); // others still want it
      else {
        if (op.op === 'join') present.set(name, { tab, op: { op: 'leave', channel, cid, userId: op.userId } });
        if (op.op === 'leave') present.delete(name);
        ask(tab, op);
      }
    },
    frame_(text) {
      const lines: Line[] = [];
      for (const line of text.split('\n')) {
        const frame = Object(parse(line)) as Frame;
        if (asked.has(frame.ref!)) answered(frame, lines);
        else {
          lines.push([undefined, line]);
          if (frame.event === 'unsubscribed') rooms.delete(frame.channel!);
          if (frame.event !== 'presence.state') keep(frame.id ?? frame.cursor, frame.channel, frame.channel ? line : '');
        }
      }
      tell(lines);
    },
    close() {
      clearTimeout(timer);
      tabs.clear(); // whoever goes now is not spoken for
      present.clear();
      queue.length = 0;
    },
  };
}
