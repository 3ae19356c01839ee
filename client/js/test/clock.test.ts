// Two clocks, either of which may fail.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { now } from '../src/clock.js';
import { RealtimeClient } from '../src/realtime.js';
import { begin, clock, FakeSocket, pass, settle } from './fakes.js';

const { performance } = globalThis;

beforeEach(() => {
  begin();
  clock.tick(2000); // by which the clocks are compared
  now();
});

afterEach(() => {
  globalThis.performance = performance; // with a now of its own from each test's begin()
});

/** What passes by now() while `body` runs. */
function passed(body: () => void): number {
  const before = now();
  body();
  return now() - before;
}

test('what passes is what either clock has seen pass', () => {
  assert.equal(passed(() => clock.tick(500)), 500);
  assert.equal(passed(() => clock.sleep(3_600_000)), 3_600_000, 'the machine slept');
  assert.equal(passed(() => clock.tick(500)), 500);
  assert.equal(passed(() => clock.sleep(-3_600_000)), 0, 'the clock was set back');
  assert.equal(passed(() => clock.tick(500)), 500);
  clock.fixed = clock.now;
  for (let i = 0; i < 20; i++) assert.equal(passed(() => clock.tick(500)), 500, 'the date stands still');
  assert.equal(passed(() => (clock.fixed = undefined)), 0, 'it catches up');
  assert.equal(passed(() => clock.tick(500)), 500);
  assert.equal(passed(() => clock.sleep(60_000)), 60_000, 'the machine slept');
  clock.fixed = clock.now - 86_400_000;
  assert.equal(passed(() => clock.tick(500)), 500, 'it stands still where it was yesterday');
  assert.equal(passed(() => (clock.fixed = clock.now - 86_340_000)), 60_000, 'and jumps a minute');
});

test('roundings do not add up', () => {
  const before = now();
  for (let i = 0; i < 10_000; i++) {
    clock.tick(0.1);
    clock.fixed = Math.floor(clock.now);
    now();
  }
  assert.ok(Math.abs(now() - before - 1000) < 2, `${now() - before} ms`);
});

async function connect(): Promise<RealtimeClient> {
  const rt = new RealtimeClient({ clientId: 'client-of-this-tab' });
  rt.connect();
  await settle();
  await FakeSocket.last.greet({ limits: { message: 1000, channels: 9, metadata: 9, rate: 10, burst: 10 } });
  return rt;
}

test('with the date fixed all is published, no faster than allowed', async () => {
  const rt = await connect();
  clock.fixed = clock.now;
  for (let n = 0; n < 100; n++) void rt.publish('a', n);
  await pass(1000);
  assert.ok(FakeSocket.last.ops('publish').length <= 17);
  await pass(10_000);
  assert.equal(FakeSocket.last.ops('publish').length, 100);
  rt.disconnect();
});

test('a date that is set forward makes nobody faster', async () => {
  const rt = await connect();
  for (let n = 0; n < 30; n++) void rt.publish('a', n);
  clock.sleep(3_600_000);
  void rt.publish('a', 30);
  assert.equal(FakeSocket.last.ops('publish').length, 8);
  rt.disconnect();
});

test('with the date fixed a silent connection is given up', async () => {
  const rt = await connect();
  clock.fixed = clock.now;
  await pass(63_000);
  assert.equal(FakeSocket.all.length, 2);
  rt.disconnect();
});

test('a date that stood still and catches up costs neither the connection nor what waits for an answer', async () => {
  const rt = await connect();
  clock.fixed = clock.now;
  for (let i = 0; i < 10; i++) {
    await pass(20_000);
    FakeSocket.last.say({ event: 'ping', cursor: 'c' });
  }
  const end = rt.publish('a', 1).catch((error: Error) => error);
  clock.fixed = undefined;
  await pass(10_000);
  FakeSocket.last.answer('publish');
  assert.deepEqual([await end, FakeSocket.all.length, rt.state], [undefined, 1, 'open']);
  rt.disconnect();
});

const broken: Record<string, () => void> = {
  'without performance': () => Object.assign(globalThis, { performance: undefined }),
  'without performance, and with the date fixed': () => {
    Object.assign(globalThis, { performance: undefined });
    clock.fixed = clock.now;
  },
  'with a performance that is not all there': () => Object.assign(globalThis, { performance: {} }),
  'with a performance.now that gives nothing': () => (performance.now = () => undefined as never),
  'with a performance.now that stands still': () => {
    const { steps } = clock;
    performance.now = () => steps;
  },
  'with a performance.now that stands still at 0': () => (performance.now = () => 0),
  'with both clocks standing still': () => {
    const { steps } = clock;
    performance.now = () => steps;
    clock.fixed = clock.now;
  },
};

for (const [name, spoil] of Object.entries(broken))
  for (const when of ['before', 'after'])
    test(`${name}, from ${when} the connection on, all is published, no faster than allowed`, async () => {
      if (when === 'before') spoil();
      const rt = await connect();
      if (when === 'after') spoil();
      for (let n = 0; n < 30; n++) void rt.publish('a', n);
      await pass(1000);
      assert.ok(FakeSocket.last.ops('publish').length <= 17);
      await pass(4000);
      assert.equal(FakeSocket.last.ops('publish').length, 30);
      rt.disconnect();
    });
