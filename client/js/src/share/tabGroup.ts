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
  start_?(): unknown;
  /** How the tab asks to follow. */
  ask_(): Ask;
  /** Begins a connection to the server, another one where there is one, which leads to {@link Member.opened_}. */
  dial_(): unknown;
  /** The own connection is for all, from now on, as they have been told. */
  lead_(): void;
  /** Answers a tab that asks, if this one leads. */
  answer_(tab: string, ask: Ask): void;
  /** The leader has said yes. */
  follow_(yes: M): void;
  /** The leader has said no, or there is no group to be had. */
  alone_(): void;
  /** Takes what the leader says. */
  take_(said: M): void;
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
  opened_(): void;
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
  const patience = 5_000; // ms, for locks, for messages, and for a leader

  const id = random();
  const off = new AbortController();
  const { signal } = off;
  let leading = false; // it has the lock of the group, or else queues for it
  let channel: BroadcastChannel | undefined; // of the group, between join and leave
  let leader: string | undefined; // whom this tab follows
  let asking = false; // an answer of the leader is due
  let undecided: ReturnType<typeof setTimeout> | undefined; // what the own connection is for, and until when that may be so
  let audible = false; // the browser has delivered what this tab said to all

  const say_ = (message: Said<Ask>): void => channel?.postMessage({ from: id, ...message });
  /** Says something that comes to this tab as well: by then it has heard all that others have said before. */
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
  const alone_ = (): void => {
    decided();
    part.alone_();
  };
  const goApart = (): void => {
    member.leave_();
    part.alone_();
  };

  /** The own connection becomes that of the group. */
  const begin = (): void => {
    decided();
    say_({ lead: true });
    part.lead_();
  };
  /** The lock of the group has come. */
  const locked = (): void => {
    leading = true;
    if (undecided) begin(); // the last leader has told this tab nothing
    else sayToAll({ lead: true });
  };
  /** The lock cannot be had, or another tab has stolen it. */
  const lost = (): void => (leading ? part.end_() : alone_());
  /** The leader does not answer: it hangs, or the browser delivers nothing. */
  const steal = (): void => {
    if (!audible) return goApart();
    undecided = setTimeout(goApart, patience);
    hold(channel!.name, signal, locked, lost, { steal: true });
  };

  /** Somebody leads from now on: all have heard the last of the leader before. */
  const heardLead = (): void => {
    leader = undefined;
    // Also where the lock was stolen meanwhile, as two must not answer those who ask from here on.
    if (leading) part.dial_();
    else ask_();
  };
  const answered = (said: M): void => {
    decided();
    if (said.no) return part.alone_();
    leader = said.from; // before the next thing is heard
    part.follow_(said);
  };
  const hear = (said: M): void => {
    const { from, to } = said;
    if (from === id) audible = true;
    else if (to && to !== id) return;
    else if (said.lead) heardLead();
    else if (said.ask) part.answer_(from!, said.ask);
    else if (to && asking) answered(said);
    else if (from !== leader) return;
    else if (said.end) part.end_(said.end);
    else part.take_(said);
  };

  const member: Member<M> = {
    id,
    signal_: signal,
    say_,
    join_(name) {
      if (signal.aborted) return true;
      if (!channel) {
        channel = new BroadcastChannel(name);
        channel.onmessage = ({ data }) => hear(data as M);
        hold(name, signal, locked, lost);
      }
      return channel.name === name;
    },
    opened_() {
      if (signal.aborted) return part.alone_();
      if (leading) return begin();
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
    part.start_?.();
  }, goApart);
  return member;
}
