// A jittery link: two messages a second for ten minutes, a client that is cut off every 13 to 17 s and without a network for 2 s.
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { RealtimeClient } from '../src/realtime.js';
import { RenClient } from '../src/ren.js';
import { begin, clock, FakeSocket, limits, pass, serveFetch, settle, type FakePage, type FakeRequest, type Op } from './fakes.js';

const length = 600_000; // ms

/** A server with a log of messages, each of which says when it was published, and a network that may be down. */
class Link {
  log: number[] = [];
  down = false;
  #streams = new Set<FakeRequest>();
  #sockets = new Set<FakeSocket>();

  constructor(private readonly random: () => number) {
    serveFetch.with = (request) => void this.#stream(request);
    FakeSocket.opened = (socket) => setImmediate(() => (this.down ? void socket.drop() : socket.open()));
    FakeSocket.serve = (socket, op) => this.#op(socket, op);
  }

  async publish(): Promise<void> {
    this.log.push(clock.now);
    for (const stream of this.#streams) await stream.send(this.#event(this.log.length));
    for (const socket of this.#sockets) socket.say(this.#message(this.log.length));
  }

  /** Cuts all connections; without a network there are no others. */
  async cut(): Promise<void> {
    this.down = true;
    for (const stream of this.#streams) await stream.cut();
    for (const socket of this.#sockets) await socket.drop();
    this.#streams.clear();
    this.#sockets.clear();
  }

  async #stream(request: FakeRequest): Promise<void> {
    if (this.down) return request.fail();
    const from = +(request.headers.get('Last-Event-ID') ?? this.log.length);
    const retry = Math.floor(1_000 + 4_000 * this.random()); // as the server says, which spreads those that come back after a crash
    this.#streams.add(request);
    const missed = Array.from({ length: this.log.length - from }, (_, i) => this.#event(from + i + 1));
    await request.stream(`retry: ${retry}\n\nevent: ren.hello\nid: ${from}\ndata: {"state":"resumed"}\n\n${missed.join('')}`);
  }

  #op(socket: FakeSocket, { op, ref, since, channel }: Op): void {
    if (op === 'hello') return socket.say({ event: 'hello', limits });
    const from = +(since ?? this.log.length);
    const missed = Array.from({ length: this.log.length - from }, (_, i) => this.#message(from + i + 1));
    socket.say({ event: 'subscribed', ref, channel, state: since ? 'resumed' : 'fresh', cursor: String(from) }, ...missed);
    this.#sockets.add(socket);
  }

  #event = (seq: number): string => `id: ${seq}\ndata: {"t":"m","r":"m","ts":${this.log[seq - 1]}}\n\n`;
  #message = (seq: number): object => ({ event: 'message', channel: 'room', data: this.log[seq - 1], id: String(seq) });
}

const clients = {
  RenClient(got: (at: number) => void): () => void {
    const ren = new RenClient<{ t: 'm'; r: 'm' }>();
    ren.on(({ ts }) => got(ts!));
    return () => ren.close();
  },
  RealtimeClient(got: (at: number) => void): () => void {
    const rt = new RealtimeClient();
    rt.subscribe('room', ({ data }) => got(data as number));
    rt.connect();
    return () => rt.disconnect();
  },
};

/** Lets the link be for ten minutes; returns the delays of all messages. */
async function run(make: (got: (at: number) => void) => () => void, seed: number, online: boolean): Promise<number[]> {
  const page: FakePage = begin();
  const random = (): number => (seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;
  mock.method(Math, 'random', random);
  const link = new Link(random);
  const delays: number[] = [];
  const close = make((at) => void delays.push(clock.now - at));
  await settle();
  let cutAt = clock.now + 15_000;
  for (const end = clock.now + length; clock.now < end; await pass(500)) {
    if (link.down && clock.now >= cutAt + 2_000) {
      link.down = false;
      if (online) page.fire('online');
      cutAt += 13_000 + 4_000 * random();
    } else if (!link.down && clock.now >= cutAt) await link.cut();
    await link.publish();
  }
  link.down = false;
  await pass(20_000);
  close();
  mock.restoreAll();
  assert.equal(delays.length, link.log.length, 'each message, once');
  return delays.sort((a, b) => a - b);
}

for (const [name, make] of Object.entries(clients))
  for (const online of [true, false])
    test(`${name} on a jittery link, ${online ? 'told when the network is back' : 'left to itself'}`, async (t) => {
      const delays: number[] = [];
      for (const seed of [1, 2, 3]) delays.push(...(await run(make, seed, online)));
      delays.sort((a, b) => a - b);
      const at = (share: number): number => delays[Math.floor((delays.length - 1) * share)]!;
      const figures = `p95 ${at(0.95)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`;
      t.diagnostic(figures);
      assert.ok(at(0.95) <= 4_000 && at(0.99) <= 5_000 && at(1) <= 10_000, figures);
    });
