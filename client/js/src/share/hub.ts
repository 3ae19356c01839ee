import { parse } from '../errors.js';
import { createPace } from '../pace.js';
import type { Frame, Limits } from '../wire.js';
import { createRing, type Ring } from './ring.js';

/** One thing said: to one tab, or to all. Without a text: the tab has to have a connection of its own. */
export type Line = [to: string | undefined, text: string | undefined];

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

/** What has come of a channel, and the cursor behind it. */
type Entry = [cursor: string, text: string];

interface Room {
  /** The tabs that subscribe, and whether with presence. */
  tabs_: Map<string, boolean>;
  /** What has come, without a gap. */
  kept_: Ring<Entry>;
}

/** Speaks for many tabs on one WebSocket. */
export interface Hub {
  /** A tab comes. */
  add_(tab: string, cid: string): void;
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
 */
export function createHub(limits: Omit<Limits, 'message'>, send: (text: string) => void, tell: (lines: Line[]) => void): Hub {
  const grace = 3_000; // ms
  const most = 4 << 20; // UTF-16 units to keep, of all channels together

  const tabs = new Map<string, string>(); // and their client ids
  const rooms = new Map<string, Room>();
  const asked = new Map<number | undefined, [tab: string, op: Op, again: boolean | undefined]>();
  const present = new Map<string, string>(); // how to leave, and the tab that joined last
  const pace = createPace(limits);
  const queue: string[] = [];
  let lastRef = 0;

  const pump = (): void => {
    while (queue.length) {
      const wait = pace.take_();
      if (wait) return void setTimeout(pump, wait);
      send(queue.shift()!);
    }
  };
  /** @param again - whether a tab that subscribes did so before */
  const ask = (tab: string, op: Op, again?: boolean): void => {
    asked.set(++lastRef, [tab, op, again]);
    if (queue.push(JSON.stringify({ ...op, ref: lastRef })) < 2) pump(); // else it is waiting
  };
  /** Whether nobody is left who subscribes. */
  const unsubscribe = (tab: string, channel: string): boolean => {
    const left = rooms.get(channel)?.tabs_;
    left?.delete(tab);
    return left?.size === 0 && rooms.delete(channel);
  };
  /** The server has ended a subscription, though not what is asked for by then. */
  const revoked = (channel: string): void => {
    for (const tab of rooms.get(channel)?.tabs_.keys() ?? []) {
      const due = [...asked.values()].find(([by, said]) => by === tab && said.op === 'subscribe' && said.channel === channel);
      if (due) due[2] = false;
      else unsubscribe(tab, channel);
    }
  };
  const answered = (frame: Frame, lines: Line[]): void => {
    const [tab, { op, ref, channel, since }, again] = asked.get(frame.ref)!;
    asked.delete(frame.ref);
    const room = rooms.get(channel);
    let alone = frame.code === 'channel_limit' && tabs.size > 1;
    let missed: Entry[] = [];
    if (op === 'subscribe' && frame.event === 'error') {
      if (!again) unsubscribe(tab, channel);
      else if (room?.tabs_.has(tab)) room.tabs_.set(tab, false); // as its client takes it
    } else if (op === 'subscribe' && frame.cursor) {
      if (room) (room.kept_ = createRing()).push_([frame.cursor, ''], 0);
    } else if (op === 'subscribe') {
      // Others have it already, so what is kept says where it begins, and what has come since.
      const kept = room?.kept_.entries_ ?? [];
      frame.cursor = (since ?? kept.at(-1)?.[0])!;
      const i = kept.map(([cursor]) => cursor).lastIndexOf(frame.cursor);
      if (since && i < 0) alone = true;
      else missed = kept.slice(i + 1).filter(([, text]) => text);
    }
    lines.push([tab, alone ? undefined : JSON.stringify({ ...frame, ref })], ...missed.map(([, text]): Line => [tab, text]));
  };

  return {
    add_: (tab, cid) => void tabs.set(tab, cid),
    drop_(tab) {
      tabs.delete(tab);
      for (const channel of rooms.keys()) if (unsubscribe(tab, channel)) ask(tab, { op: 'unsubscribe', channel });
      for (const [leave, last] of present)
        if (last === tab)
          setTimeout(() => {
            if (present.get(leave) !== tab) return; // who reloaded is back
            present.delete(leave);
            ask(tab, JSON.parse(leave) as Op);
          }, grace);
    },
    op_(tab, text) {
      const cid = tabs.get(tab);
      if (!cid) return; // it has asked another leader
      const said = { ...(JSON.parse(text) as Op), cid };
      const { op, ref, channel, userId } = said;
      const leave = JSON.stringify({ op: 'leave', channel, cid, userId });
      if (op === 'subscribe') {
        const room = rooms.get(channel) ?? { tabs_: new Map(), kept_: createRing() };
        const again = room.tabs_.has(tab);
        rooms.set(channel, room);
        room.tabs_.set(tab, !!said.presence);
        ask(tab, { ...said, presence: [...room.tabs_.values()].some(Boolean) }, again);
      } else if (op === 'unsubscribe' ? !unsubscribe(tab, channel) : op === 'leave' && (present.get(leave) ?? tab) !== tab)
        tell([[tab, JSON.stringify({ event: 'ok', ref })]]); // others still want it
      else {
        if (op === 'join') present.set(leave, tab);
        if (op === 'leave') present.delete(leave);
        ask(tab, said);
      }
    },
    frame_(text) {
      const lines: Line[] = [];
      for (const line of text.split('\n')) {
        const frame = Object(parse(line)) as Frame;
        const { event, channel, id = frame.cursor } = frame;
        if (asked.has(frame.ref)) answered(frame, lines);
        else {
          lines.push([undefined, line]);
          if (event === 'unsubscribed') revoked(channel!);
          if (id && event !== 'presence.state')
            for (const [name, { kept_: kept }] of rooms)
              if ((channel ?? name) === name) kept.push_([id, channel ? line : ''], line.length, most / rooms.size);
        }
      }
      tell(lines);
    },
    close() {
      send = () => {}; // whoever goes now is not spoken for
    },
  };
}
