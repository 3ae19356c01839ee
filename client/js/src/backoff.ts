import { now } from './clock.js';

/** When to try again: the rule of testdata/backoff.json, which all four clients have in common. All times are in milliseconds. */
export interface Backoff {
  /** An attempt begins. */
  dial_(): void;
  /**
   * The server has said hello.
   * @param retry - the least wait after this connection
   */
  open_(retry?: number): void;
  /** The machine was away: credentials have their time from now on. */
  woken_(): void;
  /**
   * How long to wait before the next attempt.
   * @param denied - whether the last one ended for want of credentials
   * @param bye - the wait that the server's goodbye has asked for, 0 where it leaves that to the client; undefined without a goodbye
   * @param atLeast - on top of the random wait
   * @returns undefined where credentials have been refused for 30 s: there is to be no other attempt
   */
  wait_(denied: boolean, bye: number | undefined, atLeast: number): number | undefined;
}

/** @param most - the greatest bound of a random wait */
export function createBackoff(most: number): Backoff {
  const least = 500;
  const healthy = 2_000; // a connection that lasts so long makes up for the troubles before it
  const patience = 30_000; // a token may be renewed late
  const longest = 300_000; // no server sends a client away for longer

  let tries = 0; // that failed in a row
  let openedAt: number; // of the connection there is
  let floor = 0; // of the next wait, by the stream's wish
  let deniedAt: number | undefined; // since when credentials are refused

  return {
    dial_() {
      openedAt = Infinity;
      floor = 0;
    },
    open_(retry = 0) {
      if (openedAt < Infinity) return; // it says so again when rights have been checked anew
      openedAt = now();
      floor = retry;
      deniedAt = undefined;
    },
    woken_() {
      deniedAt = undefined;
    },
    wait_(denied, bye, atLeast) {
      const proven = now() - openedAt >= healthy;
      if (proven) tries = 0;
      // Between half a second and a bound, so that clients that were cut together come back apart.
      let wait = least + Math.random() * Math.max(Math.min(most, 1_000 * 1.5 ** tries++) - least, 0);
      if (denied) deniedAt ??= now();
      const left = deniedAt! + patience - now(); // NaN where nothing was denied
      if (left > 0) wait = Math.min(wait, left); // one attempt comes when the time is over
      else {
        deniedAt = undefined; // whoever is told may start again; and without a network nobody has had that time
        if (denied) return undefined;
      }
      wait = proven && bye ? bye : Math.max(wait, bye ?? floor);
      return Math.min(wait + atLeast, longest);
    },
  };
}
