// Data that are loaded and kept up to date: subscribe with `load`, and query.
import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import { enableLoad } from '../src/load.js';
import { createLoader } from '../src/loader.js';
import { RealtimeClient } from '../src/realtime.js';
import { RenClient } from '../src/ren.js';
import type { RenEvent } from '../src/renevent.js';
import { begin, clock, dice, pass, settle } from './fakes.js';
import { Server } from './server.js';

enableLoad();

const clientId = 'client-of-this-tab';
let server: Server;

beforeEach(() => {
  mock.restoreAll();
  begin();
  dice(0.5);
  server = new Server();
  server.install();
});

/** The numbers that a reader of the database gets, so many milliseconds after it asked. */
const read = (ms: number): Promise<number[]> =>
  new Promise((done) => setTimeout(() => done(server.log.filter(({ channel }) => channel === 'room').map(({ data }) => data as number)), ms));

/** A page that shows the numbers of a channel. */
function page(rt: RealtimeClient, ms = 10, fails = (): boolean => false): { shown: number[]; loads: number; aborted: number; off: () => void } {
  const self = { shown: [] as number[], loads: 0, aborted: 0, off: (): void => {} };
  const load = async (signal: AbortSignal): Promise<void> => {
    self.loads++;
    signal.addEventListener('abort', () => self.aborted++);
    const numbers = await read(ms);
    if (fails()) throw new Error('503');
    if (!signal.aborted) self.shown = numbers;
  };
  self.off = rt.subscribe('room', ({ data }) => void (self.shown.includes(data as number) || self.shown.push(data as number)), { load });
  return self;
}

const connect = (): RealtimeClient => {
  const rt = new RealtimeClient({ clientId });
  rt.connect();
  return rt;
};

test('a subscription with a load: what comes while it loads is heard afterwards, and a resumed one loads nothing', async () => {
  const rt = connect();
  server.publish('room', 1);
  const room = page(rt);
  await settle();
  assert.deepEqual([room.loads, room.shown], [0, []]);
  await pass(5);
  server.publish('room', 2);
  await settle();
  assert.deepEqual([room.loads, room.shown], [1, []], 'not before it is loaded');
  await pass(20);
  assert.deepEqual(room.shown, [1, 2]);
  await server.cut();
  server.publish('room', 3);
  await pass(5_000);
  assert.deepEqual([room.loads, room.shown], [1, [1, 2, 3]]);
  room.off();
  server.publish('room', 4);
  await pass(1_000);
  assert.deepEqual([room.shown, room.aborted], [[1, 2, 3], 1]);
  rt.disconnect();
});

test('where it cannot be told what was missed it loads again, once, within a second', async () => {
  const rt = connect();
  const resets: unknown[] = [];
  rt.onReset((reset) => resets.push(reset));
  const room = page(rt);
  await pass(50);
  await server.cut();
  server.log.push({ seq: 1, channel: 'room', data: 1, from: 'x' });
  server.forgets = true;
  await pass(10_000);
  assert.deepEqual([room.loads, room.shown, resets.length], [2, [1], 1]);
  server.publish('room', 2);
  await settle();
  assert.deepEqual(room.shown, [1, 2]);
  rt.disconnect();
});

test('a subscription beside another one has a position at once', async () => {
  const rt = connect();
  rt.subscribe('room', () => {});
  await settle();
  server.publish('room', 1);
  const room = page(rt);
  await pass(20);
  assert.deepEqual([room.loads, room.shown], [1, [1]]);
  await server.cut();
  const other = page(rt);
  await pass(5_000);
  assert.deepEqual([room.loads, other.loads, other.shown], [1, 1, [1]], 'as the channel is resumed');
  rt.disconnect();
});

test('a load that fails is told once, and tried again after growing waits', async () => {
  const rt = connect();
  const errors: unknown[] = [];
  rt.onError((error) => errors.push(error.message));
  let down = true;
  const room = page(rt, 10, () => down);
  await pass(60_000);
  assert.ok(room.loads > 5 && room.loads < 20, String(room.loads));
  server.publish('room', 1);
  down = false;
  await pass(16_000);
  assert.deepEqual([room.shown, errors], [[1], ['503']]);
  rt.disconnect();
});

test('after a load has failed and its listener has left, nothing more is loaded', async () => {
  const rt = connect();
  rt.onError(() => room.off());
  const room = page(rt, 10, () => true);
  await pass(60_000);
  assert.equal(room.loads, 1);
  rt.disconnect();
  await settle();
  assert.equal(clock.timers, 0);
});

test('without a connection it loads all the same, and again when there is one', async () => {
  const rt = new RealtimeClient({ clientId });
  server.publish('room', 1);
  const room = page(rt);
  await pass(4_000);
  assert.equal(room.loads, 0);
  await pass(2_000);
  assert.deepEqual([room.loads, room.shown], [1, [1]]);
  server.publish('room', 2);
  rt.connect();
  await pass(2_000);
  assert.deepEqual([room.loads, room.shown], [2, [1, 2]]);
  room.off();
  rt.disconnect();
  assert.equal(clock.timers, 0);
});

test('a client that was refused refuses a subscription with a load, too', async () => {
  const rt = connect();
  await settle();
  const errors: unknown[] = [];
  rt.onError((error) => errors.push([(error as { code?: string }).code, (error as { channel?: string }).channel]));
  server.sockets()[0]!.say({ event: 'bye', reason: 'revoked' });
  await settle();
  assert.equal(rt.state, 'closed');
  rt.subscribe('plain', () => {});
  rt.subscribe('room', () => {}, { load: () => 0 })();
  assert.deepEqual(errors.slice(1), [['forbidden', 'plain'], ['forbidden', 'room']]);
});

test('a subscription without a load is as it was', async () => {
  const rt = connect();
  const heard: unknown[] = [];
  rt.subscribe('room', ({ data }) => heard.push(data));
  await settle();
  server.publish('room', 1);
  await settle();
  assert.deepEqual(heard, [1]);
  rt.disconnect();
});

test('a listener that throws harms neither the next message nor the load', async () => {
  const reported = mock.method(console, 'error', () => {});
  const rt = connect();
  const heard: unknown[] = [];
  const load = mock.fn(() => 0);
  rt.subscribe('room', ({ data }) => {
    heard.push(data);
    throw new Error('no');
  }, { load });
  await pass(10);
  server.publish('room', 1);
  server.publish('room', 2);
  await pass(5_000);
  assert.deepEqual([heard, load.mock.callCount(), reported.mock.callCount()], [[1, 2], 1, 2]);
  rt.disconnect();
});

test('what comes while it loads is kept within bounds', async () => {
  let loads = 0;
  const applied: number[] = [];
  const errors: string[] = [];
  const loader = createLoader<void, number>(() => (++loads, new Promise((done) => setTimeout(done, 1_000))), () => {}, (n) => applied.push(n), ({ message }) => errors.push(message));
  loader.start_();
  await pass(1);
  for (let n = 0; n < 10_001; n++) loader.take_(n);
  await pass(3_000);
  assert.deepEqual([loads, applied.length], [2, 0], 'begun again, as it is no longer known what came');
  assert.deepEqual(errors, ['too many events while loading'], 'or nobody would know why there never are data');
  loader.take_(1);
  assert.deepEqual(applied, [1]);
  loader.stop_();
});

/** A query of the numbers of a channel, by a RenClient. */
const numbers = (ren: RenClient, apply = true, ms = 10): ReturnType<typeof ren.query<number[]>> & { loads: () => number } => {
  let loads = 0;
  const store = ren.query<number[]>({
    load: () => (loads++, read(ms)),
    match: ({ ch }) => ch === 'room',
    ...(apply && { apply: (all: number[], event: RenEvent) => (all.includes(event.data as number) ? all : [...all, event.data as number]) }),
  });
  return { ...store, loads: () => loads };
};

test('query: takes a position, loads, applies what comes, and loads again only after a reset', async () => {
  const ren = new RenClient({ clientId });
  server.publish('room', 1);
  const query = numbers(ren);
  assert.deepEqual(query.getSnapshot(), { data: undefined, error: undefined, loading: true });
  const off = query.subscribe(() => {});
  await pass(5);
  server.publish('room', 2);
  server.publish('other', 7);
  await pass(20);
  assert.deepEqual([query.loads(), query.getSnapshot()], [1, { data: [1, 2], error: undefined, loading: false }]);
  await server.cut();
  server.publish('room', 3);
  await pass(5_000);
  assert.deepEqual([query.loads(), query.getSnapshot().data], [1, [1, 2, 3]]);
  await server.cut();
  server.log.push({ seq: 5, channel: 'room', data: 4, from: 'x' });
  server.forgets = true;
  await pass(10_000);
  assert.deepEqual([query.loads(), query.getSnapshot().data], [2, [1, 2, 3, 4]]);
  off();
  ren.close();
  await settle();
  assert.equal(clock.timers, 0);
});

test('query without apply: many events are one load, and one that came meanwhile another', async () => {
  const ren = new RenClient({ clientId });
  const query = numbers(ren, false, 100);
  const off = query.subscribe(() => {});
  await pass(200);
  assert.equal(query.loads(), 1);
  for (let n = 0; n < 50; n++) server.publish('room', n);
  await pass(100);
  assert.deepEqual([query.loads(), query.getSnapshot().loading], [2, true]);
  for (let n = 50; n < 100; n++) server.publish('room', n);
  await pass(1_000);
  assert.deepEqual([query.loads(), query.getSnapshot().data!.length, query.getSnapshot().loading], [3, 100, false]);
  off();
  ren.close();
});

test('query: an error is in the snapshot until a load succeeds; reload loads; who comes back after a while loads again', async () => {
  const ren = new RenClient({ clientId });
  let down = true;
  const query = ren.query({
    load: () => {
      if (down) throw new Error('503');
      return 'all';
    },
  });
  const off = query.subscribe(() => {});
  await pass(3_000);
  assert.equal(query.getSnapshot().error?.message, '503');
  down = false;
  await pass(16_000);
  assert.deepEqual(query.getSnapshot(), { data: 'all', error: undefined, loading: false });
  down = true;
  query.reload();
  assert.equal(query.getSnapshot().loading, true);
  await pass(10);
  assert.deepEqual([query.getSnapshot().data, query.getSnapshot().error?.message], ['all', '503']);
  off();
  await settle();
  down = false;
  const again = query.subscribe(() => {});
  await pass(10);
  assert.deepEqual(query.getSnapshot(), { data: 'all', error: undefined, loading: false });
  again();
  ren.close();
});

/** A linear congruential generator: the same numbers for the same seed. */
const chance = (seed: number) => (): number => (seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;

test('whatever is cut, forgotten or slow, at rest both show what the server has', async () => {
  for (let seed = 1; seed <= 60; seed++) {
    mock.restoreAll();
    begin();
    const random = chance(seed);
    mock.method(Math, 'random', random);
    server = new Server();
    server.install();
    const rt = connect();
    const ren = new RenClient({ clientId });
    let broken = false;
    const room = page(rt, 40, () => broken && random() < 0.5);
    const query = numbers(ren, seed % 2 > 0, 40);
    query.subscribe(() => {});
    rt.onError(() => {});
    let resets = 0;
    rt.onReset(() => resets++);
    let n = 0;
    for (let step = 0; step < 60; step++) {
      const act = random();
      if (act < 0.5) server.publish('room', ++n);
      else if (act < 0.6) {
        await server.cut();
        server.forgets = random() < 0.5;
      } else if (act < 0.65) broken = !broken;
      await pass(random() * (act < 0.9 ? 50 : 3_000));
    }
    broken = false;
    server.forgets = false;
    await pass(60_000);
    const all = await Promise.all([read(0), pass(1)]).then(([numbers]) => numbers);
    assert.deepEqual([...room.shown].sort((a, b) => a - b), all, `seed ${seed}: subscribe`);
    assert.deepEqual(query.getSnapshot(), { data: all, error: undefined, loading: false }, `seed ${seed}: query`);
    rt.disconnect();
    ren.close();
    await settle();
  }
});

test('a query without apply keeps no more than one event while it loads', async () => {
  const ren = new RenClient({ clientId });
  await settle();
  let loads = 0;
  const query = ren.query({ load: () => (loads++, new Promise<number>((done) => setTimeout(() => done(loads), 10_000))) });
  const off = query.subscribe(() => {});
  await pass(5_000);
  for (let n = 0; n < 10_100; n++) server.publish('room', n);
  await pass(5_500);
  assert.deepEqual([query.getSnapshot().data, query.getSnapshot().error], [1, undefined], 'the load has not failed');
  await pass(20_000);
  assert.deepEqual([loads, query.getSnapshot().data], [2, 2], 'and there was one more');
  off();
  ren.close();
});

test('once the client has ended, nothing is loaded any longer', async () => {
  const rt = connect();
  const room = page(rt, 10, () => true);
  rt.onError(() => {});
  const ren = new RenClient({ clientId });
  let loads = 0;
  const query = ren.query({ load: () => (loads++, Promise.reject(new Error('503'))) });
  const off = query.subscribe(() => {});
  await pass(10_000);
  rt.disconnect();
  ren.close();
  const before = [room.loads, loads];
  assert.ok(before.every((n) => n > 1));
  await pass(120_000);
  assert.deepEqual([[room.loads, loads], query.getSnapshot().loading], [before, false]);
  rt.connect();
  await pass(5_000);
  assert.ok(room.loads > before[0]!, 'and again when it connects');
  room.off();
  off();
  rt.disconnect();
  await settle();
  assert.equal(clock.timers, 0);
});
