import type { RealtimeMessage } from './channel.js';
import { listen, tell, type Listener } from './listen.js';
import { createLoader, patience, type Load } from './loader.js';
import type { RealtimeClient, SubscribeOptions } from './realtime.js';
import { RenClient } from './ren.js';
import type { AnyRenEvent } from './renevent.js';
import { queryStore, type QueryOptions, type QueryStore } from './stores.js';
import { addExtension, type Extension } from './transport.js';
import type { ChannelOf, OfChannel } from './types.js';
import type { Frame } from './wire.js';

/** What a listener of messages is an addition to. */
export interface LoadOptions extends SubscribeOptions {
  /**
   * Loads what the messages change: when the server has confirmed the subscription, and again, up to a second later, where it cannot be
   * told what was missed. `cb` is called with the messages that come after a load began, once that has ended; what `load` throws is
   * told to `onError`, and it is tried again. Without a connection it loads after five seconds, and once more when there is one.
   */
  load: Load<unknown>;
}

declare module './realtime.js' {
  interface Subscribe<Channels> {
    /** Loads, calls `cb` with each message that comes after that, and loads again where something was missed; after {@link enableLoad}. */
    <Name extends ChannelOf<Channels>>(
      channel: Name, cb: (event: RealtimeMessage<OfChannel<Channels, Name>>) => void, options: LoadOptions,
    ): () => void;
  }
}

declare module './ren.js' {
  interface RenClient<Own extends AnyRenEvent = never> {
    /**
     * Loads data, and keeps them up to date by events; loads again where it cannot be told what was missed. See {@link queryStore}, which it
     * is; after {@link enableLoad}.
     */
    query<T>(options: QueryOptions<T, Own>): QueryStore<T>;
  }
}

const extend: Extension = (client, outbox, _check, report, _tag, use) => {
  const { onReset, onState, subscribe } = client as RealtimeClient;
  const { answer_: answer } = outbox;
  const begins = new Set<Listener<Frame>>(); // told of each subscription that the server has confirmed

  outbox.answer_ = (frame) => {
    const asked = answer(frame);
    if (asked && frame.event === 'subscribed') tell(begins, frame);
    return asked;
  };
  /** Loads when a subscription begins, and when something was missed; the listener hears what comes after that. */
  const follow = (name: string, cb: Listener<RealtimeMessage>, options: LoadOptions): (() => void) => {
    const listeners = new Set([cb]);
    const loader = createLoader<unknown, RealtimeMessage>(options.load, () => {}, (message) => tell(listeners, message), report);
    const off = (subscribe as Function)(name, loader.take_, options) as () => void; // which are another module's as well
    let placed = use(name).isLive_(); // there is a position that the data are not older than
    loader.start_(placed ? 0 : patience);
    const offs = [
      off,
      loader.stop_,
      listen(begins)(({ channel }) => {
        if (placed || channel !== name) return;
        placed = true;
        loader.start_();
      }),
      onReset(({ channel }) => channel === name && loader.start_()),
      onState((state) => {
        if (state !== 'closed') return;
        placed = false; // until the next connect
        loader.stop_();
      }),
    ];
    return () => {
      listeners.clear();
      offs.forEach((stop) => stop());
    };
  };
  Object.assign(client, {
    subscribe: (name: string, cb: Listener<RealtimeMessage>, options?: LoadOptions) =>
      options?.load ? follow(name, cb, options) : (subscribe as Function)(name, cb, options),
  });
};

let enabled = false;

/**
 * Gives `RealtimeClient.subscribe` its option `load`, and `RenClient` its method `query`. To be called once, before a client is made; the
 * bundle `realtime.js` has called it. Those who use stores or hooks do not need it.
 */
export function enableLoad(): void {
  if (!enabled) addExtension(extend);
  enabled = true;
  RenClient.prototype.query = function (options) {
    return queryStore(this, options);
  };
}
