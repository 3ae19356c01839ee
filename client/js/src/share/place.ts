import { random } from '../id.js';

/** What the tabs of a group say to each other: to all of them, or to the one with the id `to`. */
export interface Message {
  to?: string;
  /** The leader that says it. */
  from?: string;
  /** The id of a new leader. What was said before it, all tabs have heard, and what comes after it comes from the leader. */
  lead?: string;
}

/** One attempt's place in the group of tabs that share a connection. */
export interface Place<M extends Message> {
  readonly name: string;
  readonly id: string;
  /** Whether it is this tab that has the connection. */
  lead: boolean;
  /** Whether the lead has come to this tab, and waits for the next attempt. */
  heir: boolean;
  say(message: M): void;
  /** Takes the lead from a tab that hangs. */
  steal(): Promise<void>;
  leave(): void;
}

/** Takes a place; `over` is called when another tab has taken the lead from it. */
export type Take<M extends Message> = (name: string, hear: (message: M) => void, over: () => void) => Promise<Place<M>>;

interface Lock {
  release(): void;
  stolen(): void;
}

const unclaimed = 5_000; // how long a lead waits for the next attempt of its tab

/** Whether this is a page, or a worker, that can share. Web Locks are there in secure contexts only. */
export function canShare(): boolean {
  return !!globalThis.isSecureContext && globalThis.origin !== 'null' && !!globalThis.navigator?.locks && !!globalThis.BroadcastChannel;
}

/** Waits for a lock; gives undefined where `ifAvailable` is asked for and it is not. */
export function lock(name: string, options: LockOptions): Promise<Lock | undefined> {
  return new Promise((done) => {
    const own: Lock = { release() {}, stolen() {} };
    navigator.locks
      .request(name, options, (got) => got && new Promise<void>((release) => done(Object.assign(own, { release }))))
      .then(() => done(undefined), () => own.stolen()); // by then it has been given back, or never was ours
  });
}

/** Makes the places of one client, one after the other. */
export function createSeat<M extends Message>(): Take<M> {
  let kept: (Lock & { name: string }) | undefined; // for the next attempt

  return async (name, hear, over) => {
    const id = random();
    const off = new AbortController();
    const channel = new BroadcastChannel(name);
    channel.onmessage = ({ data }: MessageEvent<M>) => (data.to ?? id) === id && hear(data);
    const inherited = kept;
    kept = undefined;
    if (inherited && inherited.name !== name) inherited.release();
    let own: Lock | undefined = inherited?.name === name ? inherited : await lock(name, { ifAvailable: true });

    const place: Place<M> = {
      name,
      id,
      lead: !!own,
      heir: false,
      say: (message) => channel.postMessage(message),
      async steal() {
        own = (await lock(name, { steal: true }))!;
        own.stolen = over;
        place.lead = true;
        off.abort();
      },
      leave() {
        off.abort();
        channel.close();
        own?.release();
      },
    };
    if (own) own.stolen = over;
    else
      void lock(name, { signal: off.signal }).then((next) => {
        if (!next) return;
        const mine = (kept = Object.assign(next, { name }));
        place.heir = true;
        const drop = (): void => {
          if (kept === mine) kept = undefined;
        };
        mine.stolen = drop;
        setTimeout(() => kept === mine && (drop(), mine.release()), unclaimed);
        // Through a channel of its own it comes to this tab as to all others: behind what the last leader has said.
        const voice = new BroadcastChannel(name);
        voice.postMessage({ lead: id });
        voice.close();
      });
    return place;
  };
}
