import { createAsker } from './asker.js';
import { asError, type RealtimeError } from './errors.js';
import { listen, tell, type Listener } from './listen.js';
import type { Outbox } from './outbox.js';
import { promised } from './presence.js';
import { addExtension } from './transport.js';
import type { ChannelOf } from './types.js';
import type { Frame } from './wire.js';

// Importing this module adds messages that grow to the RealtimeClients that are made from then on. The bundle `realtime.js` has it.

/** `streaming` until it is complete, has failed, or was cancelled by somebody who stopped it. */
export type StreamState = 'streaming' | 'complete' | 'failed' | 'cancelled';

/** What has come of a stream: its text, or of one of JSON values its items. */
export type StreamContent<Item> = [Item] extends [never] ? string : readonly Item[];

/**
 * A message that grows, such as the answer of a language model. `for await` gives what has come so far, each time that it has grown: all of
 * it, and not only what is new. Who is slow gets the newest. The loop ends when the stream is complete or cancelled, and throws a
 * {@link RealtimeError} where it has failed: with the server's reason, or as `forbidden`, `not_found` or `too_many` where there is nothing to follow.
 *
 * It is followed while a loop or a listener is there, over lost connections too. To end a loop does not stop the stream.
 */
export interface Stream<Item = never> extends AsyncIterable<StreamContent<Item>> {
  /** What has come of a text. */
  readonly text: string;
  /** What has come of a stream of JSON values: the same array until there are more. */
  readonly items: readonly Item[];
  readonly state: StreamState;
  /** Why it has failed, or cannot be followed. */
  readonly error: RealtimeError | undefined;
  /** It has ended, and the server no longer has all of what came before this client followed it. */
  readonly partial: boolean;
  /** What the server says of it. */
  readonly metadata: unknown;
  /** Whose message it is. */
  readonly userId: string | undefined;
  /**
   * Asks the server to stop it, for everybody. Resolves when the server knows, also where it has ended already; `state` follows. Rejects as
   * `publish` does: with `forbidden` where the user may not. May be ignored.
   */
  stop(): Promise<void>;
  /** Follows it, and calls `cb` after each change. Returns how to end that. */
  subscribe(cb: () => void): () => void;
}

declare module './realtime.js' {
  interface RealtimeClient<Channels, Presences> {
    /** A stream of a channel, subscribed to or not: the one with this id. Costs nothing until it is followed. */
    stream<Item = never>(channel: ChannelOf<Channels>, id: string): Stream<Item>;
  }
}

/** What is known of a stream, and all who follow it on a client. */
interface Source {
  text_: string;
  items_: readonly unknown[];
  state_: StreamState;
  error_?: RealtimeError;
  partial_: boolean;
  metadata_?: unknown;
  userId_?: string | undefined;
  readonly listeners_: Set<Listener<void>>;
  /** Asks for what is wanted, unless the server knows. */
  sync_(): void;
  /** The connection is gone. */
  cut_(): void;
  /** Takes what the server says of it. */
  take_(frame: Frame): void;
  end_(state: StreamState, error?: RealtimeError): void;
}

const nameOf = (channel: unknown, id: unknown): string => JSON.stringify([channel, id]);

/** @param sources - those that are followed, where it stands as long as it is */
function createSource(channel: string, id: string, sources: Map<string, Source>, outbox: Outbox): Source {
  const name = nameOf(channel, id);
  let run: string | undefined; // tells it from others with its id
  let next: number | undefined; // where it goes on
  let asked = false; // the server has been asked for it on this connection
  let live = false; // and has answered

  const wanted = (): boolean => self.listeners_.size > 0 && self.state_ === 'streaming';
  const ask = (): object | undefined => {
    if (wanted() === asked) return undefined;
    asked = !asked;
    live = false;
    return asked ? { op: 'stream', id, run, offset: run && next } : { op: 'unstream', id };
  };
  const asker = createAsker(channel, outbox, () => self.sync_());
  const again = (): void => {
    asked = live = false;
    self.sync_();
  };
  const add = ({ text = '', items, next: to }: Frame): void => {
    self.text_ += text;
    if (items) self.items_ = [...self.items_, ...items];
    next = to;
  };
  const end = ({ state, error }: Frame): void => self.end_(state as StreamState, state === 'failed' ? asError(error ?? {}) : undefined);
  const begin = (frame: Frame): void => {
    const known = frame.run === run;
    self.partial_ = !!frame.partial && !known;
    if (!known || !(frame.offset || frame.partial)) [self.text_, self.items_] = ['', []];
    if (!known || !frame.partial) add(frame);
    run = frame.run;
    self.metadata_ = frame.metadata;
    self.userId_ = frame.userId;
    live = true;
    if (frame.state === 'streaming') tell(self.listeners_, undefined);
    else end(frame);
  };

  const self: Source = {
    text_: '',
    items_: [],
    state_: 'streaming',
    partial_: false,
    listeners_: new Set(),
    sync_() {
      if (!wanted() && !asked && !asker.state_) sources.delete(name); // while an answer is due, nobody else may ask
      if (wanted() !== asked)
        asker.ask_(ask, (error, answer) => {
          if (!asked) return; // it was told that nobody follows
          if (error) self.end_('failed', error);
          else begin(answer!);
        });
    },
    cut_() {
      asked = live = false;
      asker.state_ = 0;
      self.sync_();
    },
    take_(frame) {
      const { event, retry, offset = frame.next } = frame; // where it goes on, or has ended
      if (!live) return; // another tab's, before the own answer
      if (event === 'unstreamed') {
        if (retry) again();
        else self.end_('failed', asError(frame));
      } else if (event !== 'stream' && offset !== next) {
        run = undefined; // all of it
        again();
      } else if (event === 'stream.end') end(frame);
      else if (event === 'stream.append') {
        add(frame);
        tell(self.listeners_, undefined);
      }
    },
    end_(state, error) {
      asked = live = false;
      Object.assign(self, { state_: state, error_: error });
      tell(self.listeners_, undefined);
      self.sync_();
    },
  };
  return self;
}

function createStream(channel: string, id: string, sources: Map<string, Source>, outbox: Outbox, check: () => void): Stream {
  const name = nameOf(channel, id);
  let source = sources.get(name) ?? createSource(channel, id, sources, outbox);
  const self = {
    get text() { return source.text_; },
    get items() { return source.items_; },
    get state() { return source.state_; },
    get error() { return source.error_; },
    get partial() { return source.partial_; },
    get metadata() { return source.metadata_; },
    get userId() { return source.userId_; },
    stop: () =>
      promised((done) => {
        outbox.add_({ op: 'stop', channel, id }, done, true);
        check();
      }),
    subscribe(cb: () => void) {
      if (source.state_ === 'streaming') sources.set(name, (source = sources.get(name) ?? source));
      const { listeners_: listeners, sync_: sync } = source;
      const off = listen(listeners)(cb);
      sync();
      check();
      return () => {
        off();
        queueMicrotask(sync); // many stop listening only to begin again
      };
    },
    async *[Symbol.asyncIterator]() {
      let seen: unknown = '';
      let wake: (() => void) | undefined;
      const off = self.subscribe(() => wake?.());
      try {
        for (;;) {
          const now = source.items_.length ? source.items_ : source.text_;
          if (now !== seen) yield (seen = now);
          else if (source.state_ !== 'streaming') break;
          else await new Promise<void>((done) => (wake = done));
        }
      } finally {
        off();
      }
      if (source.error_) throw source.error_;
    },
  };
  return self as never;
}

addExtension((client, outbox, check) => {
  const sources = new Map<string, Source>();
  const { answer_: answer, cut_: cut, fail_: fail, open_: open } = outbox;
  const each = (what: (source: Source) => void): void => [...sources.values()].forEach(what);

  outbox.open_ = (send, limits, first) =>
    open(send, limits, () => {
      first();
      each((source) => source.sync_());
    });
  outbox.cut_ = () => {
    cut();
    each((source) => source.cut_());
  };
  outbox.fail_ = (error) => {
    fail(error);
    // After a disconnect they wait for the next connect, as subscriptions do.
    if (error.code !== 'closing') each((source) => source.end_('failed', error));
  };
  outbox.answer_ = (frame) => {
    if (answer(frame)) return true;
    const ours = /^(un)?stream/.test(frame.event); // and not its channel's, to which `id` is a cursor
    if (ours) sources.get(nameOf(frame.channel, frame.id))?.take_(frame);
    return ours;
  };
  Object.assign(client, {
    stream: (channel: string, id: string) => createStream(channel, id, sources, outbox, check),
  });
});
