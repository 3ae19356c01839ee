/** An operation for the server; see docs/protocol.md. */
export interface Op {
  op: string;
  ref?: number;
  channel: string;
  cid?: string;
  since?: string;
  presence?: boolean;
  userId?: string;
  metadata?: unknown;
}

/**
 * Which tabs a user is present for. To the server, the tabs with one client id are one session of the user in a channel: it
 * must last until the last of them has left, and show what the last of those that are left has said.
 */
export interface Owners {
  /** A tab joins, or says something else of the user. Returns what it said before. */
  set_(tab: string, op: Op): Op | undefined;
  /** A tab leaves: returns what the server must be told, a leave or an update, if anything. */
  leave_(tab: string, op: Op): Op | undefined;
  /** What a tab has said of whom it is present for. */
  of_(tab: string): Op[];
  /** The server has ended the sessions of a user in a channel. */
  end_(channel: string, userId: string): void;
}

/**
 * @param user - whom the server takes to be meant where no operation says it
 * @param lives - whether a tab has not gone
 */
export function createOwners(user: string | undefined, lives: (tab: string) => boolean): Owners {
  /** By tab, in the order in which they spoke last, what they said. */
  const sessions = new Map<string, Map<string, Op>>();
  const keyOf = ({ channel, userId = user, cid }: Op): string => JSON.stringify([channel, userId, cid]);
  const last = (owners: Map<string, Op>): Op | undefined => [...owners.values()].at(-1);
  const shown = (owners: Map<string, Op>): string => JSON.stringify([last(owners)?.metadata]);

  return {
    set_(tab, op) {
      const owners = sessions.get(keyOf(op)) ?? new Map<string, Op>();
      const before = owners.get(tab);
      owners.delete(tab);
      sessions.set(keyOf(op), owners.set(tab, op));
      return before;
    },
    leave_(tab, op) {
      const owners = sessions.get(keyOf(op)) ?? new Map<string, Op>();
      const before = shown(owners);
      owners.delete(tab);
      // A leave also ends what waits out its grace.
      if ([...owners.keys()].some(lives)) return shown(owners) === before ? undefined : { ...last(owners)!, op: 'update' };
      sessions.delete(keyOf(op));
      return { op: 'leave', channel: op.channel, cid: op.cid!, userId: op.userId! };
    },
    of_: (tab) => [...sessions.values()].flatMap((owners) => owners.get(tab) ?? []),
    end_(channel, userId) {
      for (const key of sessions.keys()) {
        const [where, who] = JSON.parse(key) as string[];
        if (where === channel && who === userId) sessions.delete(key);
      }
    },
  };
}
