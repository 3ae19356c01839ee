import { parse } from '../errors.js';
import { createRateLimit } from '../rateLimit.js';
import type { Frame, Limits } from '../wire.js';
import { createRooms } from './rooms.js';
import { createSessions } from './sessions.js';

/** An operation for the server; see docs/protocol.md. */
export interface Op {
  op: string;
  ref?: number;
  channel: string;
  /** Of a stream, or what a message is known by that is sent again. */
  id?: string | undefined;
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

/**
 * Takes the answer to an operation, for the tab that asked. Returns what the tab is to be told after it; undefined where it must have a
 * connection of its own.
 */
type Answered = (frame: Frame, failed: boolean) => string[] | undefined;

/** An operation that has no answer yet. */
type Asked = [
  op: Op,
  /** Who asked; nobody, where the hub did. */
  tab?: string | undefined,
  answered?: Answered | undefined,
];

/**
 * Speaks for many tabs on one WebSocket, as if they were one client: what one tab asks for must not end what another has, so subscriptions
 * are counted by channel, streams by their ids, and presence by session. An answer goes to the tab that asked,
 * everything else to all of them.
 */
export interface Hub {
  /** A tab comes. */
  add_(tab: string, cid: string): void;
  /** A tab goes. It leaves where it is present after the grace that a server gives an orderly close. */
  leave_(tab: string): void;
  /** Takes an operation of a tab. */
  ask_(tab: string, text: string): void;
  /** Takes a frame of the server. */
  take_(text: string): void;
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

  const tabs = new Map<string, string>(); // and their client ids
  const rooms = createRooms();
  const streams = createRooms(); // by name; none of their events is kept
  const sessions = createSessions(tabs, user);
  const asked = new Map<number | undefined, Asked>(); // by the number that the server answers with
  const pace = createRateLimit(limits);
  const queue: string[] = []; // no longer than what the tabs themselves may have waiting
  let lastRef = 0;

  const pump = (): void => {
    while (queue.length && pace.take_(pump)) send(queue.shift()!);
  };
  const ask = (op: Op | undefined, tab?: string, answered?: Answered): void => {
    if (!op) return;
    asked.set(++lastRef, [op, tab, answered]);
    if (queue.push(JSON.stringify({ ...op, ref: lastRef })) < 2) pump(); // else it is waiting
  };
  const reply = (frame: Frame, { ref }: Op): string => JSON.stringify({ ...frame, ref });

  /** A tab joins, or says something else of the user. */
  const present = (tab: string, op: Op): void => {
    const before = sessions.say_(tab, op);
    ask(op, tab, (frame, failed) => {
      // What is refused for the moment, the tab says again.
      if (failed && !frame.retry)
        if (before) sessions.say_(tab, before);
        else ask(sessions.leave_(tab, op));
      return [];
    });
  };
  const nameOf = ({ channel, id }: Partial<Op>): string => JSON.stringify({ channel, id });
  const take = (tab: string, op: Op): void => {
    const { op: what, channel } = op;
    if (what === 'subscribe') return ask(op, tab, rooms.add_(tab, op));
    const name = nameOf(op);
    if (what === 'stream') {
      const answered = streams.add_(tab, { ...op, channel: name });
      return ask(op, tab, (frame) => answered(frame, frame.state !== 'streaming'));
    }
    if (what === 'join' || what === 'update') return present(tab, op);
    if (what === 'leave') {
      const due = sessions.leave_(tab, op);
      if (due?.op === what) return ask(due, tab);
      ask(due);
    } else if (what === 'unsubscribe' ? rooms.leave_(tab, channel) : what !== 'unstream' || streams.leave_(tab, name)) return ask(op, tab);
    tell([[tab, reply({ event: 'ok' }, op)]]); // others still want it
  };
  const answer = ([op, tab, answered]: Asked, frame: Frame, lines: Line[]): void => {
    if (!tab) return;
    const rest = answered ? answered(frame, frame.event === 'error') : [];
    const alone = !rest || (/channel_limit|too_many/.test(frame.code!) && tabs.size > 1);
    lines.push([tab, alone ? undefined : reply(frame, op)]);
    for (const text of rest ?? []) lines.push([tab, text]);
  };

  return {
    add_: (tab, cid) => void tabs.set(tab, cid),
    leave_(tab) {
      tabs.delete(tab);
      for (const channel of rooms.leaveAll_(tab)) ask({ op: 'unsubscribe', channel });
      for (const name of streams.leaveAll_(tab)) ask({ op: 'unstream', ...(JSON.parse(name) as Pick<Op, 'channel' | 'id'>) });
      // Who reloads is back by then, under another name.
      setTimeout(() => {
        for (const op of sessions.of_(tab)) ask(sessions.leave_(tab, op));
      }, grace);
    },
    ask_(tab, text) {
      const cid = tabs.get(tab);
      if (cid) take(tab, { ...(JSON.parse(text) as Op), cid }); // else it has asked another leader
    },
    take_(text) {
      const lines: Line[] = [];
      for (const line of text.split('\n')) {
        const frame = Object(parse(line)) as Frame;
        const { event, ref, channel, userId } = frame;
        const due = asked.get(ref);
        asked.delete(ref);
        if (due) answer(due, frame, lines);
        else {
          lines.push([undefined, line]);
          if (event === 'unsubscribed') rooms.end_(channel!);
          if (event === 'left') sessions.end_(channel, userId);
          if (!/stream/.test(event)) rooms.take_(frame, line);
          else if (event !== 'stream.append') streams.end_(nameOf(frame));
        }
      }
      tell(lines);
    },
  };
}
