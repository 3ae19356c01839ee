import type { Op } from './hub.js';

/**
 * Who is present through the tabs. To the server, the tabs with one client id are one session of a user in a channel: it must last until the
 * last of them has left, and show what was said last by those that have not.
 */
export interface Sessions {
  /** A tab joins, or says something else of the user. Returns what it said before. */
  say_(tab: string, op: Op): Op | undefined;
  /** A tab leaves. Returns what the server must be told: a leave, an update, or nothing. */
  leave_(tab: string, op: Op): Op | undefined;
  /** Where a tab is present: what it said last in each session. */
  of_(tab: string): Op[];
  /** The server has ended the presence of a user. */
  end_(channel: string | undefined, userId: string | undefined): void;
}

/**
 * @param tabs - those that are there
 * @param user - whom the server has greeted
 */
export function createSessions(tabs: Map<string, unknown>, user: string | undefined): Sessions {
  /** By session and tab what was said last, the newest at the end. */
  const sessions = new Map<string, Map<string, Op>>();

  const keyOf = ({ channel, userId = user, cid }: Op): string => JSON.stringify([channel, userId, cid]);
  const saidIn = (op: Op): Map<string, Op> => sessions.get(keyOf(op)) ?? new Map();
  const last = (said: Map<string, Op>): Op | undefined => [...said.values()].at(-1);
  const shown = (said: Map<string, Op>): string | undefined => JSON.stringify(last(said)?.metadata);

  return {
    say_(tab, op) {
      const said = saidIn(op);
      const before = said.get(tab);
      said.delete(tab); // it goes to the end
      sessions.set(keyOf(op), said.set(tab, op));
      return before;
    },
    leave_(tab, op) {
      const said = saidIn(op);
      const before = shown(said);
      said.delete(tab);
      if ([...said.keys()].some((other) => tabs.has(other))) return shown(said) === before ? undefined : { ...last(said)!, op: 'update' };
      // Nobody is left but tabs that have gone and wait out their grace, which a leave ends.
      sessions.delete(keyOf(op));
      return { ...op, op: 'leave', metadata: undefined };
    },
    of_: (tab) => [...sessions.values()].flatMap((said) => said.get(tab) ?? []),
    end_(channel, userId) {
      for (const [key, said] of sessions) {
        const op = last(said)!;
        if (op.channel === channel && (op.userId ?? user) === userId) sessions.delete(key);
      }
    },
  };
}
