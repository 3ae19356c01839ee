import { takePlace, type Message, type Place } from './place.js';

/** What the tabs of a group say to each other about following. */
export interface Said<Ask> extends Message {
  /** A tab asks to follow. */
  ask?: Ask & { id: string };
  /** The leader, to one that it cannot have as a follower. */
  no?: true;
}

/** What a connection does at what the group decides. */
export interface Part<Ask, M extends Said<Ask>> {
  /** What the tab has to say of itself to follow. */
  ask_(): Ask;
  /** Begins a connection to the server, anew if there is one, which leads to {@link Member.greeted_}. */
  dial_(): void;
  /** The own connection is for all, from now on, as they have been told. */
  lead_(): void;
  /** Answers a tab that asks, if this one leads. */
  serve_(ask: Ask & { id: string }): void;
  /** The leader has said yes. */
  follow_(yes: M): void;
  /** The leader has said no. */
  alone_(): void;
  /** Takes what the leader says; as the leader, what the others say to it. */
  hear_(said: M): void;
}

/** A connection as a member of the group of tabs that share one. */
export interface Member<M> {
  readonly id: string;
  say_(message: M): unknown;
  /** Says something as the leader: to all who follow, or to one. */
  announce_(message: M): void;
  /** The server has greeted the tab on its own connection: it belongs to the group of the name. */
  greeted_(name: string): Promise<void>;
  /** Asks the leader, once more. */
  retry_(): void;
  /** What was asked for is no longer what is wanted. */
  forget_(): void;
  leave_(): void;
}

export function createMember<Ask, M extends Said<Ask>>(part: Part<Ask, M>): Member<M> {
  const patience = 5_000; // ms, with a leader that does not answer

  let place: Place<M> | undefined;
  let leader: string | undefined;
  let over = false;
  let answered: ((said?: M) => void) | undefined;

  /** Asks the leader to be told what it hears; resolves with its answer, or undefined if there is none in time. */
  const ask = (ms?: number): Promise<M | undefined> =>
    new Promise((done) => {
      const own = (answered = (said) => {
        if (over || answered !== own) return;
        answered = undefined;
        if (said && !said.no) {
          leader = said.from; // before the next thing is heard
          part.follow_(said);
        }
        done(said);
      });
      place!.say_({ ask: { id: place!.id, ...part.ask_() } } as unknown as M);
      if (ms) setTimeout(own, ms);
    });
  const hear = async (said: M): Promise<void> => {
    if (over || !place) return;
    if (said.lead) {
      leader = undefined;
      if (place.lead_) part.dial_();
      else if ((await ask())?.no) part.alone_();
    } else if (said.ask) part.serve_(said.ask);
    else if (said.to && answered) answered(said);
    else if (said.from === leader) part.hear_(said); // nobody is named where one speaks to the leader, who follows nobody
  };
  const lost = (): void => {
    place!.leave_();
    place = undefined;
    if (!over) part.dial_();
  };

  const say_ = (message: M): unknown => over || place?.say_(message);

  return {
    get id() {
      return place!.id;
    },
    say_,
    announce_: (message) => say_({ from: place?.id, ...message }),
    async greeted_(name) {
      if (place?.name !== name) {
        place?.leave_();
        place = undefined;
        const next = await takePlace<M>(name, (said) => void hear(said), lost);
        if (over) return next.leave_();
        place = next;
      }
      const own = place;
      if (!own.lead_) {
        const said = await ask(patience);
        if (over || leader || own.lead_ || place !== own) return; // where the lead has come to this tab, it dials
        if (said) return part.alone_();
        await own.steal_();
        if (over || place !== own) return own.leave_();
      }
      say_({ lead: own.id } as M);
      part.lead_();
    },
    retry_: () => void ask(),
    forget_: () => answered?.({ no: true } as M),
    leave_() {
      over = true;
      place?.leave_();
    },
  };
}
