import type { RealtimeMessage } from './channel.js';
import { tell, type Listener } from './listen.js';
import type { Done } from './outbox.js';
import type { HistoryOptions, HistoryPage } from './page.js';
import type { RealtimeClient, SubscribeOptions } from './realtime.js';
import { addExtension } from './transport.js';
import type { ChannelOf, OfChannel } from './types.js';

export type { HistoryOptions, HistoryPage } from './page.js';

// Importing this module adds the past of channels to the RealtimeClients that are made from then on. The bundle `realtime.js` has it.

/** What a listener is told before what comes from now on; at most what one page holds. */
export interface RewindOptions extends SubscribeOptions {
  /** So many of the last messages; a server permits 1 to 100 by default. */
  rewind?: number | undefined;
  /** The messages of so many milliseconds. */
  rewindMs?: number | undefined;
}

declare module './realtime.js' {
  interface Subscribe<Channels> {
    /**
     * Calls `cb` with the last messages of a channel, and then with each one that comes: none is left out between them, and none comes twice.
     * After a reset it goes on with what comes then. What the server refuses of the options is told to `onError`, and `cb` begins with what comes.
     */
    <Name extends ChannelOf<Channels>>(
      channel: Name, cb: (event: RealtimeMessage<OfChannel<Channels, Name>>) => void, options: RewindOptions | undefined,
    ): () => void;
  }
  interface RealtimeClient<Channels, Presences> {
    /**
     * Reads a page of the messages of a channel, subscribed to or not. Rejects with a {@link RealtimeError}: `forbidden`, `bad_request` for a
     * `limit` or `before` that the server does not take, or as `publish` does.
     */
    history<Name extends ChannelOf<Channels>>(channel: Name, options?: HistoryOptions): Promise<HistoryPage<OfChannel<Channels, Name>>>;
  }
}

/** A listener that has not been told the last messages. */
interface Waiting {
  channel_: string;
  options_: RewindOptions;
  /** It is told them, and what comes from now on. */
  begin_: (messages: RealtimeMessage[]) => void;
  asked_?: boolean | undefined;
}

addExtension((client, outbox, check, report, tag) => {
  const waiting = new Set<Waiting>();
  const asked = new Map<string, object>(); // for what subscriptions the server was asked last, on this connection
  const subscribed = new Set<string>(); // the channels of which it has confirmed one: until then, another one might overtake it
  const { add_: add, cut_: cut } = outbox;
  const { getClientId, subscribe } = client as RealtimeClient;
  const own = (message: RealtimeMessage): RealtimeMessage =>
    message.from && message.from === tag() ? { ...message, from: getClientId() } : message;

  /** Has the server answer the subscription of a channel once more, with the last messages, for a listener that waits. */
  const ask = (channel: string): void => {
    for (const listener of waiting)
      if (listener.channel_ === channel && subscribed.has(channel) && !listener.asked_) {
        listener.asked_ = true;
        const make = (): object | undefined => {
          listener.asked_ = subscribed.has(channel) && waiting.has(listener);
          return listener.asked_ ? { ...asked.get(channel), since: undefined, ...listener.options_ } : undefined;
        };
        const done: Done = (error, answer) => {
          if (!error && !answer) return ask(channel);
          if (!waiting.delete(listener)) return; // it has stopped
          if (error) report(Object.assign(error, { channel }));
          listener.begin_((answer as Partial<HistoryPage>)?.messages ?? []);
        };
        done.stale_ = () => !waiting.has(listener);
        add(make, done);
      }
  };

  outbox.add_ = (op, done, kept) => {
    if (typeof op !== 'function') return add(op, done, kept);
    let made: { op: string; channel: string } | undefined;
    let before = false;
    const make = (): object | undefined => {
      made = op() as typeof made;
      const { op: what, channel = '' } = made ?? {};
      if (what === 'subscribe' || what === 'unsubscribe') {
        before = subscribed.delete(channel);
        asked.delete(channel);
      }
      if (what === 'subscribe') asked.set(channel, made!);
      return made;
    };
    add(make, (error, answer) => {
      const begun = made?.op === 'subscribe' && (before || !error);
      if (begun) subscribed.add(made!.channel);
      done(error, answer); // which may end it
      if (begun) ask(made!.channel);
    });
  };
  outbox.cut_ = () => {
    subscribed.clear();
    asked.clear();
    for (const listener of waiting) listener.asked_ = false;
    cut();
  };
  Object.assign(client, {
    history: (channel: string, options?: HistoryOptions) =>
      new Promise<HistoryPage>((resolve, reject) => {
        const done: Done = (error, answer) => {
          if (error) return reject(error);
          const { messages, before, end } = answer as unknown as HistoryPage;
          resolve({ messages: messages.map(own), ...(before ? { before } : { end: end! }) });
        };
        add({ op: 'history', channel, ...options }, done, true);
        check();
      }),
    subscribe(channel: string, cb: Listener<RealtimeMessage>, options?: RewindOptions) {
      if (!options?.rewind && !options?.rewindMs) return (subscribe as Function)(channel, cb, options); // which may be another module's
      let begun = false;
      const one = new Set([cb]);
      const listener: Waiting = {
        channel_: channel,
        options_: options,
        begin_(messages) {
          begun = true;
          for (const message of messages) tell(one, own(message));
        },
      };
      waiting.add(listener);
      const take: Listener<RealtimeMessage> = (message) => begun && cb(message);
      const leave = (subscribe as Function)(channel, take, { ...options, rewind: 0, rewindMs: 0 }) as () => void;
      ask(channel);
      return () => {
        one.clear();
        waiting.delete(listener);
        leave();
      };
    },
  });
});
