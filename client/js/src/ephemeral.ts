import { promised } from './presence.js';
import type { RealtimeClient } from './realtime.js';
import { addExtension } from './transport.js';
import type { ChannelOf, OfChannel } from './types.js';

// Importing this module adds messages that are live only to the RealtimeClients that are made from then on. The bundle `realtime.js` has it.

/** Options of {@link RealtimeClient.publish}. */
export interface PublishOptions {
  /**
   * The message is live only, as for who is typing, cursors and progress: who subscribes gets it now or not at all, and of
   * each user and `type` of data perhaps only the newest. Without a connection nobody gets it. The promise resolves at
   * once; {@link RealtimeClient.onError} is told of a refusal.
   */
  ephemeral?: boolean | undefined;
}

declare module './realtime.js' {
  interface Publish<Channels> {
    /** Publishes a message that may be live only. */
    <Name extends ChannelOf<Channels>>(
      channel: Name, data: OfChannel<Channels, Name>, options: PublishOptions | undefined,
    ): Promise<void>;
  }
}

addExtension((client, outbox, _check, report) => {
  const { publish } = client as RealtimeClient;
  const { cut_: cut } = outbox;
  const waiting = new Map<string, unknown>(); // for its turn: the newest of each channel and type

  outbox.cut_ = () => {
    waiting.clear();
    cut();
  };
  Object.assign(client, {
    publish(channel: string, data: unknown = null, { ephemeral }: PublishOptions = {}) {
      if (!ephemeral) return publish(channel, data);
      return promised((done) => {
        const key = JSON.stringify([channel, Object(data).type]);
        const said = JSON.parse(JSON.stringify(data)) as unknown; // as it is now
        done();
        if (!outbox.isOpen_()) return; // there is nobody who would get it now
        const first = !waiting.has(key);
        waiting.set(key, said);
        if (first)
          outbox.add_(
            () => {
              const op = { op: 'publish', channel, data: waiting.get(key), ephemeral };
              waiting.delete(key);
              return op;
            },
            (error) => error && report(Object.assign(error, { channel })),
          );
      });
    },
  });
});
