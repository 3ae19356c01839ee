import type { RealtimeMessage } from './channel.js';
import { tell, type Listener } from './listen.js';
import type { RealtimeClient } from './realtime.js';
import { layer } from './transport.js';
import type { ChannelOf, OfChannel } from './types.js';

// Importing this module gives clients that are made from then on the option `every`: of what changes often, only the newest. The bundle
// `realtime.js` has it.

/** What a listener of messages is an addition to, for which the newest message of each key is enough. */
export interface EveryOptions<T = unknown> {
  /**
   * At most one message of each key in so many milliseconds: the newest, and the first one after a pause at once. The others are left out,
   * here and not by the server. Messages of different keys may come in another order than their cursors.
   */
  every?: number | undefined;
  /** Gives the key of a message. Default: its user, or client where it has none, and the member `type` of its data. */
  key?: ((message: RealtimeMessage<T>) => unknown) | undefined;
}

declare module './ren.js' {
  interface RenClientOptions {
    /**
     * At most one event of each key (`r`, `ns`, `k`) in so many milliseconds, 1 to 10000: the newest, and the first one after a pause at
     * once. The server leaves the others out. Events without `k` all come.
     */
    every?: number | undefined;
  }
}

declare module './realtime.js' {
  interface SubscribeOptions extends EveryOptions {}
  interface Subscribe<Channels> {
    /** Calls `cb` with the newest message of each key. */
    <Name extends ChannelOf<Channels>>(
      channel: Name, cb: (event: RealtimeMessage<OfChannel<Channels, Name>>) => void, options: EveryOptions<OfChannel<Channels, Name>> | undefined,
    ): () => void;
  }
}

const { extend_: extend, stream } = layer;

// The address says it, and decides with which tabs the stream is shared: so it is changed before anything else is done with it.
layer.stream = (open, options) => {
  const next = stream?.(open, options) ?? open;
  const { every } = options as { every?: number };
  return (url, ...rest) => {
    if (every) url.searchParams.set('every', String(every));
    return next(url, ...rest);
  };
};

// Whatever else a listener is an addition to, that comes on top: messages that were loaded or rewound are not left out.
layer.extend_ = (client, ...parts) => {
  const { subscribe } = client as RealtimeClient;
  Object.assign(client, {
    subscribe(channel: string, cb: Listener<RealtimeMessage>, { every, key = usual }: EveryOptions = {}) {
      if (!every) return subscribe(channel, cb);
      const listeners = new Set([cb]);
      const latest = new Map<string, RealtimeMessage | undefined>(); // by key, within its interval: what is to come after it
      const timers = new Map<string, ReturnType<typeof setTimeout>>();
      const pass = (name: string, message: RealtimeMessage | undefined): void => {
        if (!message) {
          latest.delete(name);
          timers.delete(name);
          return;
        }
        latest.set(name, undefined);
        timers.set(name, setTimeout(() => pass(name, latest.get(name)), every));
        tell(listeners, message);
      };
      const off = subscribe(channel, (message) => {
        const name = JSON.stringify(key(message)) ?? '';
        if (latest.has(name)) latest.set(name, message);
        else pass(name, message);
      });
      return () => {
        off();
        listeners.clear();
        timers.forEach(clearTimeout);
      };
    },
  });
  extend?.(client, ...parts);
};

function usual({ userId, from, data }: RealtimeMessage): unknown {
  return [userId ?? from, Object(data).type];
}
