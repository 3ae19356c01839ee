import { parse } from '../errors.js';
import { createRateLimit } from '../rateLimit.js';
import type { Frame, Limits } from '../wire.js';
import { createRing, type Ring } from './ring.js';

/** An operation for the server; see docs/protocol.md. */
export interface Op {
  op: string;
  ref?: number;
  channel: string;
  cid?: string;
  since?: string;
  presence?: boolean;
  rewind?: number;
  rewindMs?: number;
  userId?: string;
  metadata?: unknown;
}

/** One thing said: to one tab, or to all. Without a text: the tab has to have a connection of its own. */
export type Line = [to: string | undefined, text: string | undefined];

/** What has come of a channel, and the cursor after it. */
type Entry = [cursor: string, text: string];

interface Room {
  /** The tabs that subscribe, and whether with presence. */
  tabs_: Map<string, boolean>;
  /** What has come, without a gap. */
  kept_: Ring<Entry>;
}

/** An operation that has no answer yet. */
interface Asked {
  /** Who is to be told; nobody, where the hub asks of itself. */
  tab_: string | undefined;
  op_: Op;
  /** Of a subscribe: whether the tab was subscribed before. Of a join or an update: what the tab said before. */
  before_: boolean | Op | undefined;
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
 * @param user - whom the server has greeted
 */
export function createHub(
  limits: Omit<Limits, 'message'>, send: (text: string) => void, tell: (lines: Line[]) => void, user?: string,
): Hub {
  const grace = 3_000; // ms
  const most = 4 << 20; // UTF-16 units to keep, of all channels together

  const tabs = new Map<string, string>(); // and their client ids
  const rooms = new Map<string, Room>();
  /** By session of a user in a channel, and by tab, in the order in which they spoke last, what they said. */
  const sessions = new Map<string, Map<string, Op>>();
  const asked = new Map<number | undefined, Asked>();
  const pace = createRateLimit(limits);
  const queue: string[] = []; // no longer than what the tabs themselves may have waiting
  let lastRef = 0;

  const pump = (): void => {
    while (queue.length) {
      const wait = pace.take_();
      if (wait) return void setTimeout(pump, wait);
      send(queue.shift()!);
    }
  };
  const ask = (tab: string | undefined, op: Op | undefined, before?: Asked['before_']): void => {
    if (!op) return;
    asked.set(++lastRef, { tab_: tab, op_: op, before_: before });
    if (queue.push(JSON.stringify({ ...op, ref: lastRef })) < 2) pump(); // else it is waiting
  };

  // Presence: to the server, the tabs with one client id are one session of the user in a channel. It must last until the last of them
  // has left, and show what the last of those that are left has said.

  const keyOf = ({ channel, userId = user, cid }: Op): string => JSON.stringify([channel, userId, cid]);
  const last = (owners: Map<string, Op>): Op | undefined => [...owners.values()].at(-1);
  /** A tab joins, or says something else of the user. Returns what it said before. */
  const present = (tab: string, op: Op): Op | undefined => {
    const owners = sessions.get(keyOf(op)) ?? new Map<string, Op>();
    const before = owners.get(tab);
    owners.delete(tab);
    sessions.set(keyOf(op), owners.set(tab, op));
    return before;
  };
  /** A tab leaves: returns what the server must be told, a leave or an update, if anything. */
  const leave = (tab: string, op: Op): Op | undefined => {
    const owners = sessions.get(keyOf(op)) ?? new Map<string, Op>();
    const before = JSON.stringify(last(owners)?.metadata);
    owners.delete(tab);
    // A leave also ends what waits out its grace.
    if ([...owners.keys()].some((owner) => tabs.has(owner)))
      return JSON.stringify(last(owners)?.metadata) === before ? undefined : { ...last(owners)!, op: 'update' };
    sessions.delete(keyOf(op));
    return { ...op, op: 'leave', metadata: undefined };
  };

  // Subscriptions: the server has one for each channel, as long as any tab has.

  const subscribe = (tab: string, op: Op): void => {
    const room = rooms.get(op.channel) ?? { tabs_: new Map(), kept_: createRing() };
    const before = room.tabs_.has(tab);
    rooms.set(op.channel, room);
    room.tabs_.set(tab, !!op.presence);
    ask(tab, { ...op, presence: [...room.tabs_.values()].some(Boolean) }, before);
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
      const due = [...asked.values()].find(({ tab_: by, op_: op }) => by === tab && op.op === 'subscribe' && op.channel === channel);
      if (due) due.before_ = false;
      else unsubscribe(tab, channel);
    }
  };
  /** Says in the answer where a subscription begins, and returns what has come since; undefined where that is not known. */
  const subscribed = (frame: Frame, { channel, since }: Op): Entry[] | undefined => {
    const room = rooms.get(channel);
    if (frame.cursor) {
      // The server has begun it just now.
      if (room) (room.kept_ = createRing()).push_([frame.cursor, ''], 0);
      return [];
    }
    const kept = room?.kept_.entries_ ?? [];
    frame.cursor = (since ?? kept.at(-1)?.[0])!;
    const i = kept.map(([cursor]) => cursor).lastIndexOf(frame.cursor);
    return since && i < 0 ? undefined : kept.slice(i + 1).filter(([, text]) => text);
  };
  /** Keeps what has come: of a channel, or a cursor up to which nothing else has come. */
  const keep = ({ event, channel, cursor, id = cursor }: Frame, line: string): void => {
    if (!id || event === 'presence.state') return;
    for (const [name, { kept_: kept }] of rooms)
      if ((channel ?? name) === name) kept.push_([id, channel ? line : ''], line.length, most / rooms.size);
  };

  const answered = (frame: Frame, lines: Line[]): void => {
    const { tab_: tab, op_: op, before_: before } = asked.get(frame.ref)!;
    asked.delete(frame.ref);
    if (!tab) return; // the hub has asked
    const failed = frame.event === 'error';
    let missed: Entry[] | undefined = [];
    if (op.op === 'subscribe') {
      const room = rooms.get(op.channel);
      if (!failed) missed = subscribed(frame, op);
      else if (!before) unsubscribe(tab, op.channel);
      else if (room?.tabs_.has(tab) && !op.rewind && !op.rewindMs) room.tabs_.set(tab, false); // as its client takes it
    } else if (failed && !frame.retry && /join|update/.test(op.op)) {
      if (before) present(tab, before as Op);
      else ask(undefined, leave(tab, op));
    }
    const alone = !missed || (frame.code === 'channel_limit' && tabs.size > 1);
    lines.push([tab, alone ? undefined : JSON.stringify({ ...frame, ref: op.ref })]);
    for (const [, text] of missed ?? []) lines.push([tab, text]);
  };

  return {
    add_: (tab, cid) => void tabs.set(tab, cid),
    drop_(tab) {
      tabs.delete(tab);
      for (const channel of rooms.keys()) if (unsubscribe(tab, channel)) ask(undefined, { op: 'unsubscribe', channel });
      // Who reloads is back by then, under another name.
      setTimeout(() => {
        for (const said of sessions.values()) if (said.has(tab)) ask(undefined, leave(tab, said.get(tab)!));
      }, grace);
    },
    op_(tab, text) {
      const cid = tabs.get(tab);
      if (!cid) return; // it has asked another leader
      const op = { ...(JSON.parse(text) as Op), cid };
      if (op.op === 'subscribe') return subscribe(tab, op);
      if (op.op === 'leave') {
        const due = leave(tab, op);
        if (due?.op === 'leave') return ask(tab, op);
        ask(undefined, due);
      } else if (op.op !== 'unsubscribe' || unsubscribe(tab, op.channel))
        return ask(tab, op, /join|update/.test(op.op) ? present(tab, op) : undefined);
      tell([[tab, JSON.stringify({ event: 'ok', ref: op.ref })]]); // others still want it
    },
    frame_(text) {
      const lines: Line[] = [];
      for (const line of text.split('\n')) {
        const frame = Object(parse(line)) as Frame;
        if (asked.has(frame.ref)) answered(frame, lines);
        else {
          lines.push([undefined, line]);
          if (frame.event === 'unsubscribed') revoked(frame.channel!);
          if (frame.event === 'left')
            for (const key of sessions.keys())
              if (key.startsWith(JSON.stringify([frame.channel, frame.userId]).slice(0, -1))) sessions.delete(key);
          keep(frame, line);
        }
      }
      tell(lines);
    },
    close() {
      send = () => {}; // a tab that goes now is not spoken for
    },
  };
}
