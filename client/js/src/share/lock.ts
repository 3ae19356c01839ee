import type { ClientOptions } from '../options.js';

const enum Format {
  /** Of what tabs say to each other: those that have loaded another one do not share. */
  Version = 1,
}

/** With whom a client shares: with nobody, with all who give the same name, or with all who give none. */
export function groupOf({ shareTabs, getToken }: ClientOptions): boolean | string {
  return shareTabs ?? !getToken;
}

/** The name of the group of those tabs that have all of it in common. */
export function groupName(...common: unknown[]): string {
  return JSON.stringify([Format.Version, ...common]);
}

/**
 * Waits for a lock and calls `held`; keeps it until `signal` aborts. Calls `lost` where it cannot be had, or when another tab
 * has stolen it.
 */
export function hold(name: string, signal: AbortSignal, held: () => void, lost: () => void, options: LockOptions = { signal }): void {
  const keep = (): unknown =>
    signal.aborted ||
    new Promise((done) => {
      signal.addEventListener('abort', done);
      held();
    });
  navigator.locks.request(name, options, keep).catch(() => signal.aborted || lost());
}
