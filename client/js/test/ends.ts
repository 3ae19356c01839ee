// The far ends of both clients, with one face: what a test of how clients come back does to either of them.
import { RealtimeClient } from '../src/realtime.js';
import { RenClient } from '../src/ren.js';
import type { ClientOptions } from '../src/options.js';
import { FakeSocket, requests, settle } from './fakes.js';

/** One client, and the server and the network it meets. */
export interface End {
  client: RenClient | RealtimeClient;
  /** When each attempt was made. */
  attempts(): number[];
  /** The server says hello. */
  greet(more?: { retryMs?: number; expiresIn?: number }): Promise<void>;
  /** The server shows that it is there. */
  beat(): Promise<void>;
  /** The connection breaks, or cannot be had. */
  cut(): Promise<void>;
  /** The server ends the connection in order. */
  bye(retryMs: number, reason?: string): Promise<void>;
  /** The server wants other credentials. */
  deny(): Promise<void>;
  close(): void;
}

const clientId = 'browserbrowser.tab1';
const control = (event: string, more: object, retryMs?: number): string =>
  `${retryMs === undefined ? '' : `retry: ${retryMs}\n\n`}event: ${event}\nid: c\ndata: ${JSON.stringify({ cursor: 'c', ...more })}\n\n`;

export async function renEnd(options: ClientOptions = {}): Promise<End> {
  const client = new RenClient({ clientId, ...options });
  const last = (): (typeof requests)[0] => requests.at(-1)!;
  let reading: unknown; // the request that has become a stream
  const send = async (text: string): Promise<void> => {
    if (reading === last()) return last().send(text);
    reading = last();
    await last().stream(text);
  };
  await settle();
  return {
    client,
    attempts: () => requests.map(({ at }) => at),
    greet: ({ retryMs, expiresIn } = {}) => send(control('ren.hello', { state: 'fresh', src: 'TAG', expiresIn }, retryMs)),
    beat: () => send(control('ren.ping', {})),
    cut: () => (reading === last() ? last().cut() : last().fail()),
    bye: (retryMs, reason = 'rotate') => send(control('ren.bye', { reason, retryMs })),
    deny: () => last().answer(401, { 'Content-Type': 'application/json' }, '{"code":"unauthorized","message":"who?","retry":false}'),
    close: () => client.close(),
  };
}

export async function realtimeEnd(options: ClientOptions = {}): Promise<End> {
  const client = new RealtimeClient({ clientId, ...options });
  client.connect();
  await settle();
  return {
    client,
    attempts: () => FakeSocket.all.map(({ at }) => at),
    greet: (more = {}) => FakeSocket.last.greet(more),
    beat: async () => FakeSocket.last.say({ event: 'ping', cursor: 'c' }),
    cut: () => FakeSocket.last.drop(),
    async bye(retryMs, reason = 'rotate') {
      const socket = FakeSocket.last;
      socket.open();
      socket.say({ event: 'bye', reason, retryMs, cursor: 'c' });
      await settle();
    },
    async deny() {
      const socket = FakeSocket.last;
      socket.open();
      socket.say({ event: 'error', code: 'unauthorized', message: 'who?', retry: false }, { event: 'bye', reason: 'unauthorized', retryMs: 0 });
      await socket.drop(4401);
    },
    close: () => client.disconnect(),
  };
}
