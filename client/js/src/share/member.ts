import { createSeat, type Message, type Place } from './place.js';

/** What the tabs of a group say to each other about following. */
export interface Said<Ask> extends Message {
  /** A tab asks to follow. */
  ask?: Ask & { id: string };
  /** The leader, to whom it cannot have as a follower. */
  no?: true;
}

/** What one attempt does at what the group decides. */
export interface Part<Ask, M extends Said<Ask>> {
  /** What the tab has to say of itself to follow; undefined while it does not know. */
  ask(): Ask | undefined;
  /** Begins a connection of its own, which ends in {@link Member.greeted}. */
  dial(): void;
  /** The own connection is for all, from now on. */
  lead(): void;
  /** As the leader, answers a tab that asks, unless it is too early. */
  serve(ask: Ask & { id: string }): void;
  /** The leader has said yes. */
  follow(yes: M): void;
  /** The own connection is for this tab only. */
  alone(): void;
  /** Takes what the leader says; as the leader, what the others say to it. */
  hear(said: M): void;
  /** The attempt is over, and has to be repeated at once: the lead has changed. */
  again(): void;
}

/** One attempt of a client at a connection, as a member of the group of tabs that share it. */
export interface Member<M> {
  readonly id: string;
  say(message: M): void;
  begin(): void;
  /** The server has greeted the tab on its own connection: it belongs to the group of the name. */
  greeted(name: string): Promise<void>;
  /** Asks the leader once more. */
  retry(): void;
  /** What was asked for is no longer what is wanted. */
  forget(): void;
  /** Ends it. `known` says whether the server need not greet the tab again: whose page it is can have changed. */
  leave(known: boolean): void;
}

const patience = 5_000; // with a leader that does not answer

/** Makes the members of one client, one after the other. */
export function createMembers<Ask, M extends Said<Ask>>(): (part: Part<Ask, M>) => Member<M> {
  const take = createSeat<M>();
  let known: string | undefined; // the name of the group

  return (part) => {
    let place: Place<M> | undefined;
    let leader: string | undefined;
    let over = false;
    let answered: ((said?: M) => void) | undefined;

    const ask = (): void => {
      const what = part.ask();
      if (what) place!.say({ ask: { id: place!.id, ...what } } as unknown as M);
    };
    const hear = (said: M): void => {
      if (over) return;
      if (said.lead) {
        if (leader || place?.heir) part.again();
        else if (answered) ask();
      } else if (said.ask) part.serve(said.ask);
      else if (said.to && answered) answered(said);
      else if (said.from === leader) part.hear(said); // nobody is named where one speaks to the leader, who follows nobody
    };
    /** Whether the tab has its place, which it may have lost in the meantime. */
    const sit = async (name: string): Promise<boolean> => {
      if (place?.name === name) return true;
      place?.leave();
      place = undefined;
      const next = await take(name, hear, part.again);
      if (over) next.leave();
      else place = next;
      return !over;
    };
    const wait = (ms?: number): Promise<M | undefined> =>
      new Promise((done) => {
        const own = (answered = (said) => {
          if (answered !== own) return;
          answered = undefined;
          if (!over && said && !said.no) {
            leader = said.from; // before the next thing is heard
            part.follow(said);
          }
          done(said);
        });
        ask();
        if (ms) setTimeout(own, ms);
      });

    return {
      get id() {
        return place!.id;
      },
      say: (message) => place!.say(message),
      async begin() {
        if (known && !(await sit(known))) return;
        if (!place || place.lead || ((await wait())?.no && !over)) part.dial();
      },
      async greeted(name) {
        known = name;
        if (!(await sit(name))) return;
        if (!place!.lead) {
          const said = await wait(patience);
          if (over || leader) return;
          if (said) return part.alone();
          await place!.steal();
          if (over) return place!.leave();
        }
        part.lead();
      },
      retry: () => void wait(),
      forget: () => answered?.({ no: true } as M),
      leave(still) {
        if (!over && !still) known = undefined;
        over = true;
        place?.leave();
      },
    };
  };
}
