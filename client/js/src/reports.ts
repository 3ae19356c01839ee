import { stored } from './id.js';
import { listen, tell, type Listener } from './listen.js';
import type { ClientOptions } from './options.js';

/** What a client says to those who listen, and to the console. */
export interface Reports<Reset> {
  log_(...what: unknown[]): void;
  /** Tells those who listen for errors; where nobody does, the console. */
  report_(error: unknown): void;
  /** Says in the console, once, what may be wrong with the way to the server. */
  suspect_(what: string): void;
  /** Tells those who listen for resets. */
  missed_(reset: Reset): void;
}

/**
 * Gives a client `onError` and `onReset`.
 * @param name - stands before what goes to the console
 */
export function createReports<Reset>(
  client: object, options: ClientOptions & { onReset?: Listener<Reset> | undefined }, name: string,
): Reports<Reset> {
  const { onError, onReset } = options;
  const errors = new Set(onError && [onError]);
  const resets = new Set(onReset && [onReset]);
  const chatty = options.debug ?? stored('localStorage', 'REN_DEBUG') === '1';
  let warned = false;

  Object.assign(client, { onError: listen(errors), onReset: listen(resets) });
  return {
    log_: (...what) => chatty && console.debug(name, ...what),
    report_: (error) => (errors.size ? tell(errors, error as Error) : console.error(name, error)),
    suspect_(what) {
      if (!warned) console.warn(name, what);
      warned = true;
    },
    missed_: (reset) => tell(resets, reset),
  };
}
