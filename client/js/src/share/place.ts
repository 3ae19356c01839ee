import { random } from '../id.js';

/** What the tabs of a group say to each other: to all of them, or to the one with the id `to`. */
export interface Message {
  to?: string;
  /** The leader that says it. */
  from?: string;
  /** The id of a new leader. What was said before it, all tabs have heard, and what comes after it comes from the leader. */
  lead?: string;
}

/** A tab's place in the group of tabs that share a connection. */
export interface Place<M extends Message> {
  readonly name: string;
  readonly id: string;
  /** Whether it is this tab that has the connection. */
  lead_: boolean;
  say_(message: M): void;
  /** Takes the lead from a tab that hangs. */
  steal_(): Promise<void>;
  leave_(): void;
}

/** A lock that is held, until it is released or `stolen_` is called. */
export interface Lock {
  release_(): void;
  stolen_(): void;
}

/** Whether this is a page, or a worker, that can share. Web Locks are there in secure contexts only. */
export function canShare(): boolean {
  if (!globalThis.isSecureContext || globalThis.origin === 'null' || !globalThis.navigator?.locks) return false;
  try {
    new BroadcastChannel('').close(); // Firefox throws where storage is forbidden
    return true;
  } catch {
    return false;
  }
}

const enum Format {
  /** Of what tabs say to each other: those that have loaded another one do not share. */
  Version = 1,
}

/** The name of the group of those tabs that have all of it in common. */
export function groupName(...common: unknown[]): string {
  return JSON.stringify([Format.Version, ...common]);
}

/** Waits for a lock; gives undefined where it cannot be had: not at once, if `ifAvailable` asks for that, or not at all. */
export function lock(name: string, options: LockOptions): Promise<Lock | undefined> {
  return new Promise((done) => {
    const own: Lock = { release_() {}, stolen_() {} };
    navigator.locks
      .request(name, options, (got) => got && new Promise<void>((release) => done(Object.assign(own, { release_: release }))))
      .catch(() => own.stolen_())
      .then(() => done(undefined)); // by then it has been given back, or never was ours
  });
}

/**
 * Takes a place in the group of a name: the lead, if nobody has it. When it comes to this tab later, all hear of it, this
 * one too. `lost` is called when another tab has stolen it.
 */
export async function takePlace<M extends Message>(name: string, hear: (message: M) => void, lost: () => void): Promise<Place<M>> {
  const id = random();
  const off = new AbortController();
  const channel = new BroadcastChannel(name);
  channel.onmessage = ({ data }: MessageEvent<M>) => (data.to ?? id) === id && hear(data);
  let own: Lock | undefined;
  const place: Place<M> = {
    name,
    id,
    lead_: false,
    say_: (message) => channel.postMessage(message),
    async steal_() {
      const got = await lock(name, { steal: true });
      hold(got);
    },
    leave_() {
      off.abort();
      channel.close();
      own?.release_();
    },
  };
  const hold = (got: Lock | undefined): void => {
    if (!got) return;
    if (off.signal.aborted) return got.release_(); // too late
    off.abort(); // nothing more to wait for
    own = Object.assign(got, { stolen_: lost });
    place.lead_ = true;
  };
  hold(await lock(name, { ifAvailable: true }));
  if (!own)
    void lock(name, { signal: off.signal }).then((got) => {
      hold(got);
      if (!own) return;
      // Through a channel of its own it comes to this tab as to all others: behind what the last leader has said.
      const voice = new BroadcastChannel(name);
      voice.postMessage({ lead: id });
      voice.close();
    });
  return place;
}
