import { random } from '../id.js';
import { hold } from './lock.js';

/** What the tabs of a group say to each other: to all of them, or to the one with the id `to`. */
export interface Said<Ask> {
  from?: string;
  to?: string;
  /** The lead has come to the tab that says it, or it is ready to lead. What was said before, all tabs have heard by then. */
  lead?: true;
  /** To the leader: asks to follow, or for something else. */
  ask?: Ask;
  /** The leader, to one that it cannot have as a follower. */
  no?: true;
  /** The leader's connection is over, with this code. */
  end?: number;
}

/** What a connection does at what the group decides. */
export interface Part<Ask, M extends Said<Ask>> {
  /** The tab may dial now, if it has not done so yet: others would notice if it went. */
  ready_?(): unknown;
  /** How the tab asks to follow. */
  ask_(): Ask;
  /** Begins a connection to the server, another one where there is one, which leads to {@link Member.greeted_}. */
  dial_(): unknown;
  /** The own connection is for all, from now on, as they have been told. */
  lead_(): void;
  /** Answers a tab that asks, if this one leads. */
  serve_(tab: string, ask: Ask): void;
  /** The leader has said yes. */
  follow_(yes: M): void;
  /** The leader has said no, or there is no group to be had. */
  alone_(): void;
  /** Takes what the leader says. */
  hear_(said: M): void;
  /** The connection is over, for the client too. */
  end_(code?: number): void;
}

/**
 * A connection as a member of the group of tabs that share one. It goes through these steps:
 *
 * 1. It takes the lock of its own id, by which a leader learns when it has gone.
 * 2. Greeted by the server on a connection of its own, it knows the name of its group, and queues for the lock of that name.
 *    The tab that has that lock leads.
 * 3. Until it has, it asks the leader to follow. Yes, and its own connection is over; no, and it keeps that for itself.
 * 4. When the lock comes to it, it says so to all, itself included, by which all have heard the last of the leader before it.
 *    Then it dials, is greeted, and says that it is ready: all others ask it.
 *
 * A leader that does not answer for five seconds has its lock stolen. A browser that does not grant locks or deliver messages
 * by then has no groups.
 */
export interface Member<M> {
  readonly id: string;
  /** Aborts when the member leaves. */
  readonly signal_: AbortSignal;
  /** Says something to the group; what is not for the leader is heard by those who follow this tab. */
  say_(message: M): void;
  /** Joins the group of a name; false where it is of another one. */
  join_(name: string): boolean;
  /** The server has greeted the tab on its own connection, as one of the group. */
  greeted_(): void;
  /** Asks the leader to be told what it hears. */
  ask_(): void;
  /** What was asked for is no longer what is wanted. */
  forget_(): void;
  /** Whatever the leader says, the own connection is for this tab only, for now. */
  alone_(): void;
  /** The own connection is over, and with it that of those who follow. */
  end_(code: number): void;
  leave_(): void;
}

export function createMember<Ask, M extends Said<Ask>>(part: Part<Ask, M>): Member<M> {
  const patience = 5_000; // ms

  const id = random();
  const off = new AbortController();
  const { signal } = off;
  let channel: BroadcastChannel | undefined;
  let apart = false; // there is no group
  let audible = false; // the own voice has come back
  let leads = false;
  let leader: string | undefined; // whom this tab follows
  let asking = false;
  let undecided: ReturnType<typeof setTimeout> | undefined; // runs until it is decided what the own connection is for

  const say_ = (message: Said<Ask>): void => channel?.postMessage({ from: id, ...message });
  /** Says something that comes to this tab as well, in order with what the others say. */
  const sayToAll = (message: Said<Ask>): void => {
    const voice = new BroadcastChannel(channel!.name);
    voice.postMessage(message);
    voice.close();
  };
  const ask_ = (): void => {
    asking = true;
    say_({ ask: part.ask_() });
  };
  const decided = (): void => {
    clearTimeout(undecided);
    undecided = undefined;
    asking = false;
  };
  const begin = (): void => {
    decided();
    say_({ lead: true });
    part.lead_();
  };
  const lead = (): void => {
    leads = true;
    if (undecided) begin(); // nothing has been heard of the last leader
    else sayToAll({ lead: true });
  };
  const alone_ = (): void => {
    decided();
    part.alone_();
  };
  const lost = (): void => (leads ? part.end_() : alone_());
  const goApart = (): void => {
    apart = true;
    member.leave_();
    part.alone_();
  };
  const steal = (): void => {
    if (!audible) return goApart();
    undecided = setTimeout(goApart, patience);
    hold(channel!.name, signal, lead, lost, { steal: true });
  };

  const hear = (said: M): void => {
    if (said.from === id) audible = true;
    else if ((said.to ?? id) !== id) return;
    else if (said.lead) {
      leader = undefined;
      if (leads) part.dial_(); // also where it has been stolen, as who asks from here on must not be answered by two
      else ask_();
    } else if (said.ask) part.serve_(said.from!, said.ask);
    else if (said.to && asking) {
      decided();
      if (said.no) return part.alone_();
      leader = said.from; // before the next thing is heard
      part.follow_(said);
    } else if (said.from !== leader) return;
    else if (said.end) part.end_(said.end);
    else part.hear_(said);
  };

  const member: Member<M> = {
    id,
    signal_: signal,
    say_,
    join_(name) {
      if (apart) return true;
      if (!channel) {
        channel = new BroadcastChannel(name);
        channel.onmessage = ({ data }) => hear(data as M);
        hold(name, signal, lead, lost);
      }
      return channel.name === name;
    },
    greeted_() {
      if (apart) return part.alone_();
      if (leads) return begin();
      undecided = setTimeout(steal, patience);
      sayToAll({ from: id });
      ask_();
    },
    ask_,
    forget_() {
      asking = false;
    },
    alone_,
    end_(code) {
      say_({ end: code });
      part.end_(code);
    },
    leave_() {
      clearTimeout(unheld);
      decided();
      off.abort();
      channel?.close();
      channel = undefined;
    },
  };
  const unheld = setTimeout(goApart, patience);
  hold(id, signal, () => {
    clearTimeout(unheld);
    part.ready_?.();
  }, goApart);
  return member;
}
