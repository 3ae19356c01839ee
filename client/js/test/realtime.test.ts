import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clock, FakeSocket, limits, pass, settle } from './fakes.js';
import { clientId, connect, list, make, makeUnheard, message, outcome, page, rt, states, errors, reported } from './realtimekit.js';

test('the hello', async () => {
  const socket = await connect({ getToken: async () => 'T' });
  assert.equal(socket.url, 'wss://app.example/api/maravilla/realtime?auth=hello');
  assert.equal(socket.protocol, 'maravilla.realtime.v1');
  assert.deepEqual(socket.sent, [{ op: 'hello', cid: clientId, token: 'T' }]);
  assert.deepEqual([rt.isConnected(), states], [true, ['connecting', 'open']]);
  assert.equal(rt.getClientId(), clientId);
});

test('an absolute endpoint with a query', async () => {
  make({ wsEndpoint: 'http://other.example/ws?x=1' });
  rt.connect();
  await settle();
  assert.equal(FakeSocket.last.url, 'ws://other.example/ws?x=1&auth=hello');
  make({ wsEndpoint: 'wss://other.example/ws/http' });
  rt.connect();
  await settle();
  assert.equal(FakeSocket.last.url, 'wss://other.example/ws/http?auth=hello');
});

test('without a tag no message is the own', async () => {
  const socket = await connect({}, { src: undefined });
  const from: unknown[] = [];
  rt.subscribe('a', (event) => void from.push(event.from));
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.say(message('a', 'x'));
  assert.deepEqual(from, [undefined]);
});

test('an error without a code is one all the same', async () => {
  (await connect()).say({ event: 'error' });
  assert.deepEqual(errors, ['internal']);
});

test('what a disconnect refused is not asked for by the next connect', async () => {
  await connect();
  const end = outcome(rt.presence('room').join('ada'));
  rt.disconnect();
  await settle();
  rt.connect();
  await settle();
  await FakeSocket.last.greet();
  assert.deepEqual([end.is, list(FakeSocket.last).slice(1)], ['closing', []]);
});

test('a listener that throws harms nobody', async () => {
  const socket = await connect();
  const heard: unknown[] = [];
  rt.subscribe('a', () => {
    throw new Error('mine');
  });
  rt.subscribe('a', ({ data }) => void heard.push(data));
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.say(message('a', 'x'), message('a', 'y'));
  assert.deepEqual(heard, ['x', 'y']);
  assert.equal(reported.splice(0).length, 2);
});

test('a listener may disconnect between two objects of a frame', async () => {
  const socket = await connect();
  const heard: unknown[] = [];
  rt.subscribe('a', ({ data }) => {
    heard.push(data);
    rt.disconnect();
  });
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.say(message('a', 'x'), message('a', 'y'));
  assert.deepEqual([heard, socket.closed, rt.state], [['x'], 1000, 'closed']);
});

test('disconnect refuses what waits, and connect subscribes again', async () => {
  const socket = await connect();
  rt.subscribe('a', () => {});
  const end = outcome(rt.publish('a', 1));
  const left = outcome(rt.presence('a').join('ada').then(() => assert.fail(), () => rt.presence('a').leave()));
  rt.disconnect();
  await settle();
  assert.deepEqual([end.is, left.is, socket.closed, rt.isConnected()], ['closing', 'ok', 1000, false]);
  await pass(60_000);
  assert.equal(FakeSocket.all.length, 1);
  rt.connect();
  await settle();
  await FakeSocket.last.greet();
  assert.equal(FakeSocket.last.ops('subscribe').length, 1);
});

test('nothing of a connection counts when it is over', async () => {
  const socket = await connect();
  socket.say({ event: 'bye', reason: 'revoked', retryMs: 0, cursor: 'c' }, { event: 'hello', src: 'T', cursor: 'c' });
  socket.say({ event: 'hello', src: 'T', cursor: 'c' });
  assert.deepEqual([rt.state, errors], ['closed', ['forbidden']]);
});

for (const code of [1000, 1002, 1003, 1006, 1007, 1008, 1009, 1011, 1012, 4408, 4503]) {
  test(`after ${code} the client comes back`, async () => {
    await connect();
    await FakeSocket.last.drop(code);
    assert.equal(rt.state, 'connecting');
    await pass(1000);
    assert.equal(FakeSocket.all.length, 2);
    assert.deepEqual(errors, []);
  });
}

test('connecting twice is connecting once', async () => {
  const socket = await connect();
  rt.connect();
  await settle();
  assert.deepEqual([FakeSocket.all.length, socket.closed, rt.state], [1, undefined, 'open']);
});

test('a listener for states may disconnect, and connect again', async () => {
  make();
  let off = rt.onState((state) => state === 'connecting' && rt.disconnect());
  rt.connect();
  await settle();
  assert.deepEqual([FakeSocket.all.length, rt.state], [0, 'closed']);
  off();
  off = rt.onState((state) => {
    off();
    assert.equal(state, 'connecting');
    rt.disconnect();
    rt.connect();
  });
  rt.connect();
  await settle();
  assert.equal(FakeSocket.all.filter(({ closed }) => closed === undefined).length, 1);
});

test('after a disconnect neither a token nor the page makes a connection', async () => {
  const gives: { done: (token: string) => void; fail: (error: Error) => void }[] = [];
  make({ getToken: () => new Promise((done, fail) => void gives.push({ done, fail })) });
  for (const end of [() => gives[0]!.done('T'), () => gives[1]!.fail(new Error('no session'))]) {
    rt.connect();
    await settle();
    rt.disconnect();
    end();
    await settle();
    assert.deepEqual([FakeSocket.all.length, rt.state], [0, 'closed']);
  }
  clock.sleep(100_000);
  page.fire('online');
  page.fire('pagehide');
  page.fire('pageshow');
  await pass(60_000);
  assert.deepEqual([gives.length, rt.state], [2, 'closed']);
});

test('after a bye the client comes back when told to, after its cursor', async () => {
  const socket = await connect();
  rt.subscribe('a', () => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.say({ event: 'bye', reason: 'closing', retryMs: 4000, cursor: 'c8' });
  await socket.drop(1012);
  await pass(3999);
  assert.equal(FakeSocket.all.length, 1);
  await pass(1);
  await FakeSocket.last.greet();
  assert.equal(FakeSocket.last.ops('subscribe')[0]!.since, 'c8');
});

test('who is forbidden does not come back', async () => {
  await connect();
  const end = outcome(rt.publish('a', 1));
  await FakeSocket.last.drop(4403);
  await pass(60_000);
  assert.deepEqual([FakeSocket.all.length, rt.state, errors, end.is], [1, 'closed', ['forbidden'], 'forbidden']);
});

test('what was said on one connection does not explain the end of another', async () => {
  make();
  rt.connect();
  await settle();
  FakeSocket.last.open();
  FakeSocket.last.say({ event: 'error', code: 'rate_limited', message: 'slow', retry: true });
  const end = outcome(rt.publish('a', 1));
  await FakeSocket.last.drop();
  await pass(1000);
  assert.equal(end.is, '');
  await FakeSocket.last.drop(4403);
  assert.deepEqual([rt.state, errors], ['closed', ['forbidden']]);
});

test('sixty silent seconds end a connection', async () => {
  const socket = await connect();
  await pass(40_000);
  socket.say({ event: 'ping', cursor: 'c', ts: 1 });
  await pass(59_000);
  assert.equal(socket.closed, undefined);
  await pass(2000);
  assert.equal(socket.closed, 1000);
  assert.equal(FakeSocket.all.length, 2);
});

test('a page that goes into the cache has no connection, and one when it is back', async () => {
  const socket = await connect();
  rt.subscribe('a', () => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  const end = outcome(rt.publish('a', 1));
  page.fire('pagehide');
  assert.equal(socket.closed, 1000);
  page.fire('online');
  await pass(30_000);
  assert.equal(FakeSocket.all.length, 1);
  page.fire('pageshow');
  await settle();
  await FakeSocket.last.greet();
  assert.equal(FakeSocket.last.ops('subscribe')[0]!.since, 'c1');
  FakeSocket.last.answer('publish');
  await settle();
  assert.equal(end.is, 'ok');
});

test('waking ends a wait', async () => {
  await connect();
  await FakeSocket.last.drop();
  page.fire('online');
  await settle();
  assert.equal(FakeSocket.all.length, 2);
});

test('a token that cannot be had is reported, and asked for again', async () => {
  let n = 0;
  make({ getToken: () => (n++ ? 'T' : Promise.reject(new Error('no session'))) });
  rt.connect();
  await settle();
  assert.deepEqual([errors, rt.state], [['Error'], 'connecting']);
  await pass(2000);
  await FakeSocket.last.greet();
  assert.equal(rt.state, 'open');
});

test('where there is no WebSocket, that is said, and one can be given', async () => {
  const given = globalThis.WebSocket;
  Reflect.deleteProperty(globalThis, 'WebSocket');
  make();
  rt.connect();
  await settle();
  assert.deepEqual([errors, rt.state], [['unsupported'], 'closed']);
  rt.disconnect();
  await connect({ WebSocket: given });
  assert.equal(rt.state, 'open');
});

test('a client that has ended refuses what is asked of it, until it is to connect again', async () => {
  await connect();
  const early = outcome(rt.presence('room').join('ada'));
  await FakeSocket.last.drop(4403);
  const published = outcome(rt.publish('a', 1));
  await settle();
  assert.deepEqual([early.is, published.is], ['forbidden', 'forbidden']);
  const presence = rt.presence('room');
  const ends = [presence.join('ada'), presence.update(1), presence.leave()].map(outcome);
  await settle();
  assert.deepEqual(ends.map(({ is }) => is), ['forbidden', 'not_joined', 'ok']);
  rt.connect();
  const late = [outcome(rt.publish('a', 2)), outcome(presence.join('ada'))];
  await settle();
  await FakeSocket.last.greet();
  FakeSocket.last.answer('publish');
  FakeSocket.last.answer('join');
  await settle();
  assert.deepEqual(late.map(({ is }) => is), ['ok', 'ok']);
});

test('an error that nobody listens for goes to the console', async () => {
  makeUnheard({ getToken: () => Promise.reject(new Error('no session')) });
  rt.connect();
  await settle();
  assert.equal(reported.splice(0).length, 1);
});

test('an error without a question and a frame that is no JSON are reported', async () => {
  const socket = await connect();
  socket.say({ event: 'error', code: 'unavailable', message: '', retry: true });
  socket.onmessage!({ data: '{oops' });
  socket.say({ event: 'news', channel: 'a' });
  assert.deepEqual([errors, rt.state], [['unavailable', 'bad_json'], 'open']);
});

test('a listener may disconnect while the hello is taken', async () => {
  make();
  rt.onError(() => rt.disconnect());
  rt.subscribe('x'.repeat(200), () => {});
  const end = outcome(rt.publish('a', 1));
  rt.connect();
  await settle();
  await FakeSocket.last.greet({ limits: { ...limits, message: 200 } });
  assert.deepEqual([errors, rt.state, end.is], [['too_large'], 'closed', 'closing']);
});
