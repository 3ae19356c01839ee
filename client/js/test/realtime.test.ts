import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import type { RealtimeEvent, RealtimeReset } from '../src/channel.js';
import { RealtimeClient, type RealtimeClientOptions } from '../src/realtime.js';
import { begin, clock, dice, FakeSocket, limits, pass, settle, type FakePage } from './fakes.js';

const clientId = 'browserbrowser.tab1';
let page: FakePage;
let rt: RealtimeClient;
let states: string[], errors: string[], resets: RealtimeReset[], unhandled: unknown[], reported: unknown[];
const noteUnhandled = (reason: unknown): void => void unhandled.push(reason);

beforeEach(() => {
  page = begin();
  dice(0.5);
  [states, errors, resets, unhandled, reported] = [[], [], [], [], []];
  mock.method(console, 'error', (e: unknown) => void reported.push(e));
  process.on('unhandledRejection', noteUnhandled);
});

afterEach(async () => {
  rt.disconnect();
  await settle();
  process.off('unhandledRejection', noteUnhandled);
  assert.deepEqual([unhandled, reported], [[], []]);
  mock.restoreAll();
});

function make(options: RealtimeClientOptions = {}): void {
  rt = new RealtimeClient({ clientId, ...options });
  rt.onState((state) => void states.push(state));
  rt.onError((error) => void errors.push((error as { code?: string } & Error).code ?? error.name));
  rt.onReset((reset) => void resets.push(reset));
}

/** A connected client. */
async function connect(options: RealtimeClientOptions = {}, hello: object = {}): Promise<FakeSocket> {
  make(options);
  rt.connect();
  await settle();
  await FakeSocket.last.greet(hello);
  return FakeSocket.last;
}

/** The connection breaks, and the next one is greeted. */
async function again(): Promise<FakeSocket> {
  await FakeSocket.last.drop();
  await pass(15_000);
  await FakeSocket.last.greet();
  return FakeSocket.last;
}

const message = (channel: string, id: string, more: object = {}): object => ({ event: 'message', channel, data: id, ts: 1, id, ...more });
const presence = (change: string, userId: string, metadata?: unknown): object => ({ event: 'presence.' + change, channel: 'room', userId, metadata, ts: 5, id: 'p' + userId });
const state = (...members: object[]): object => ({ event: 'presence.state', channel: 'room', members, cursor: 'cs' });
const member = (userId: string, metadata?: unknown): object => ({ userId, metadata, lastSeen: 1 });
const list = (socket: FakeSocket): unknown[] => socket.sent.map(({ op, ref, channel }) => [op, ref, channel]);

/** How a promise ended: 'ok', a code, or '' while it has not. */
function outcome(promise: Promise<void>): { is: string } {
  const end = { is: '' };
  promise.then(() => (end.is = 'ok'), (error: { code: string }) => (end.is = error.code));
  return end;
}

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

test('subscriptions made before the connection wait for the hello', async () => {
  make();
  rt.subscribe('a', () => {});
  rt.connect();
  await settle();
  FakeSocket.last.open();
  assert.deepEqual(list(FakeSocket.last), [['hello', undefined, undefined]]);
  FakeSocket.last.say({ event: 'hello', src: 'MYTAG', cursor: 'c0', limits });
  assert.deepEqual(FakeSocket.last.sent[1], { ref: 1, op: 'subscribe', channel: 'a' });
});

test('several subscribers share one subscription, which ends with the last', async () => {
  const socket = await connect();
  const heard: string[] = [];
  const offs = ['1', '2'].map((name) => rt.subscribe('a', ({ data }) => void heard.push(name + String(data))));
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.say(message('a', 'x'));
  offs[0]!();
  offs[0]!();
  socket.say(message('a', 'y'));
  assert.equal(socket.ops('unsubscribe').length, 0);
  offs[1]!();
  await settle();
  socket.say(message('a', 'z'));
  assert.deepEqual(heard, ['1x', '2x', '2y']);
  assert.deepEqual(list(socket).slice(1), [['subscribe', 1, 'a'], ['unsubscribe', 2, 'a']]);
});

test('who comes back before the subscription has ended goes on with it', async () => {
  const socket = await connect();
  rt.subscribe('a', () => assert.fail())();
  await settle();
  const heard: unknown[] = [];
  rt.subscribe('a', ({ data }) => void heard.push(data));
  socket.say({ event: 'subscribed', ref: 1, channel: 'a', state: 'fresh', cursor: 'c1' }, message('a', 'x'));
  assert.deepEqual([list(socket).slice(1), heard], [[['subscribe', 1, 'a']], ['x']]);
});

test('a subscription made again gets nothing of the one before', async () => {
  const socket = await connect();
  const off = rt.subscribe('a', () => {});
  socket.say({ event: 'subscribed', ref: 1, channel: 'a', state: 'fresh', cursor: 'c1' });
  off();
  await settle();
  const heard: unknown[] = [];
  rt.subscribe('a', ({ data }) => void heard.push(data));
  assert.deepEqual(list(socket).slice(1), [['subscribe', 1, 'a'], ['unsubscribe', 2, 'a']]);
  socket.say(message('a', 'old'), { event: 'ping', cursor: 'c2', ts: 1 }, { event: 'ok', ref: 2 }, message('a', 'older'));
  assert.equal(socket.ops('subscribe')[1]!.since, undefined);
  socket.say({ event: 'subscribed', ref: 3, channel: 'a', state: 'fresh', cursor: 'c3' }, message('a', 'new'));
  assert.deepEqual([heard, resets], [['new'], []]);
});

test('messages carry the own id where they are the own, and reach onAny', async () => {
  const socket = await connect();
  const [mine, any]: RealtimeEvent[][] = [[], []];
  rt.subscribe('a', (event) => void mine!.push(event));
  const off = rt.onAny((event) => void any!.push(event));
  // what follows `subscribed` in the same frame belongs to the subscription
  socket.say({ event: 'subscribed', ref: 1, channel: 'a', state: 'fresh', cursor: 'c1' }, message('a', 'x', { from: 'MYTAG', userId: 'u' }), message('a', 'y', { from: 'T2' }));
  off();
  socket.say(message('a', 'z'));
  assert.deepEqual(mine!.map(({ from }) => from), [clientId, 'T2', undefined]);
  assert.deepEqual(mine![0], { event: 'message', channel: 'a', data: 'x', ts: 1, id: 'x', from: clientId, userId: 'u' });
  assert.equal(any!.length, 2);
});

test('each channel goes on after the newest cursor known of it', async () => {
  let socket = await connect();
  for (const name of ['event', 'subscribed', 'reset']) {
    rt.subscribe(name, () => {});
    socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 's-' + name });
  }
  socket.say(message('event', 'e1'), { event: 'reset', channel: 'reset', reason: 'backend', cursor: 'r1' });
  const since = (): unknown[] => socket.ops('subscribe').map((op) => [op.channel, op.since]);
  socket = await again();
  assert.deepEqual(since(), [['event', 'e1'], ['subscribed', 's-subscribed'], ['reset', 'r1']]);
  assert.deepEqual(resets, [{ channel: 'reset', reason: 'backend' }]);
  // A ping moves the channels that are subscribed to, not those that wait for it.
  socket.say({ event: 'subscribed', ref: 1, channel: 'event', state: 'resumed', cursor: 'e1' }, { event: 'ping', cursor: 'p1', ts: 1 });
  socket = await again();
  assert.deepEqual(since(), [['event', 'p1'], ['subscribed', 's-subscribed'], ['reset', 'r1']]);
});

test('a reset at the return is told', async () => {
  const given: RealtimeReset[] = [];
  await connect({ onReset: (reset) => void given.push(reset) });
  rt.subscribe('a', () => {});
  FakeSocket.last.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  const socket = await again();
  socket.answer('subscribe', { event: 'subscribed', state: 'reset', reason: 'evicted', cursor: 'c9' });
  assert.deepEqual(resets, [{ channel: 'a', reason: 'evicted' }]);
  assert.deepEqual(given, resets);
  assert.equal((await again()).ops('subscribe')[0]!.since, 'c9');
});

test('publish ends with its answer', async () => {
  const socket = await connect();
  const [good, bad] = [outcome(rt.publish('a', { x: 1 })), outcome(rt.publish('a', undefined))];
  const [first, second] = socket.ops('publish');
  assert.deepEqual([first!.channel, first!['data'], second!['data']], ['a', { x: 1 }, null]);
  assert.notEqual(first!.id, second!.id);
  socket.say({ event: 'ok', ref: first!.ref }, { event: 'error', ref: second!.ref, code: 'forbidden', message: 'no', retry: false });
  await settle();
  assert.deepEqual([good.is, bad.is], ['ok', 'forbidden']);
  assert.deepEqual(errors, []);
  void rt.publish('a', 1); // ignored
  socket.answer('publish', { event: 'error', code: 'forbidden', message: 'no', retry: false });
  const loop: Record<string, unknown> = {};
  loop['loop'] = loop;
  await assert.rejects(rt.publish('a', loop), TypeError);
});

test('a publish without an answer is sent again with its id, in order, and ends once', async () => {
  await connect();
  const ends = [1, 2, 3].map((n) => outcome(rt.publish('a', n)));
  const before = FakeSocket.last.ops('publish');
  FakeSocket.last.say({ event: 'ok', ref: before[0]!.ref });
  const socket = await again();
  assert.deepEqual(socket.ops('publish').map(({ id }) => id), [before[1]!.id, before[2]!.id]);
  for (const { ref } of socket.ops('publish')) socket.say({ event: 'ok', ref });
  await settle();
  assert.deepEqual(ends.map(({ is }) => is), ['ok', 'ok', 'ok']);
  assert.equal((await again()).ops('publish').length, 0);
});

test('a publish sees the data as it was', async () => {
  make();
  const data = { n: 1 };
  void rt.publish('a', data);
  data.n = 2;
  rt.connect();
  await settle();
  await FakeSocket.last.greet();
  assert.deepEqual(FakeSocket.last.ops('publish')[0]!['data'], { n: 1 });
});

test('a hundred messages wait, and no more', async () => {
  make();
  const ends = Array.from({ length: 101 }, (_, n) => outcome(rt.publish('a', n)));
  await settle();
  assert.deepEqual([ends[99]!.is, ends[100]!.is], ['', 'too_many']);
});

test('nobody waits longer than two minutes', async () => {
  make();
  const early = outcome(rt.publish('a', 1));
  await pass(60_000);
  const late = outcome(rt.publish('a', 2));
  await pass(59_999);
  assert.equal(early.is, '');
  await pass(1);
  assert.deepEqual([early.is, late.is], ['unavailable', '']);
  rt.connect();
  await settle();
  await FakeSocket.last.greet();
  assert.deepEqual(FakeSocket.last.ops('publish').map((op) => op['data']), [2]);
});

test('a machine that has slept does not send what the server may have forgotten', async () => {
  await connect();
  const ends = [outcome(rt.publish('a', 1))];
  await FakeSocket.last.drop();
  clock.sleep(111_000);
  ends.push(outcome(rt.publish('a', 2)));
  page.fire('online');
  await settle();
  await FakeSocket.last.greet();
  assert.deepEqual(FakeSocket.last.ops('publish').map((op) => op['data']), [2]);
  assert.deepEqual(ends.map(({ is }) => is), ['unavailable', '']);
});

test('a clock set back stops nothing', async () => {
  const socket = await connect({}, { limits: { message: 1000, channels: 9, metadata: 9, rate: 10, burst: 10 } });
  for (let n = 0; n < 12; n++) void rt.publish('a', n);
  clock.sleep(-3_600_000);
  await pass(2000);
  assert.equal(socket.ops('publish').length, 12);
  await pass(61_000);
  assert.equal(socket.closed, 1000);
});

test('a refusal whose listener asks for more has nothing sent twice', async () => {
  const socket = await connect({}, { limits: { message: 200, channels: 9, metadata: 9, rate: 10, burst: 10 } });
  rt.onError(() => void rt.publish('from the listener', 1));
  for (let n = 0; n < 9; n++) void rt.publish('a', n); // of which the last has to wait
  rt.subscribe('x'.repeat(200), () => {});
  rt.subscribe('b', () => {});
  rt.subscribe('c', () => {});
  clock.sleep(5000); // so that there is leave to send several at once
  await pass(3000);
  assert.deepEqual(errors, ['too_large']);
  assert.deepEqual(list(socket).slice(10), [['subscribe', 10, 'b'], ['subscribe', 11, 'c'], ['publish', 12, 'from the listener']]);
});

test('rate_limited messages are sent again after a pause, in order', async () => {
  const socket = await connect();
  const ends = [1, 2, 3].map((n) => outcome(rt.publish('a', n)));
  for (const { ref } of socket.ops('publish')) socket.say({ event: 'error', ref, code: 'rate_limited', message: 'slow', retry: true });
  await pass(900);
  assert.equal(socket.ops('publish').length, 3);
  await pass(2000);
  const sent = socket.ops('publish');
  assert.deepEqual(sent.map((op) => op['data']), [1, 2, 3, 1, 2, 3]);
  assert.equal(sent[3]!.id, sent[0]!.id);
  for (const { ref } of sent.slice(3)) socket.say({ event: 'ok', ref });
  await settle();
  assert.deepEqual(ends.map(({ is }) => is), ['ok', 'ok', 'ok']);
});

test('the client keeps below the rate and the size the server allows', async () => {
  const socket = await connect({}, { limits: { message: 1000, channels: 9, metadata: 9, rate: 10, burst: 10 } });
  const large = outcome(rt.publish('a', 'ü'.repeat(500)));
  await settle();
  assert.equal(large.is, 'too_large');
  for (let n = 0; n < 30; n++) void rt.publish('a', n);
  assert.equal(socket.ops('publish').length, 8);
  await pass(1000);
  assert.ok(socket.ops('publish').length <= 17);
  await pass(3000);
  assert.deepEqual(socket.ops('publish').map((op) => op['data']), Array.from({ length: 30 }, (_, n) => n));
});

test('a server that allows one operation at once is asked one at a time', async () => {
  const socket = await connect({}, { limits: { ...limits, rate: 10, burst: 1 } });
  const timers = clock.timers;
  for (const name of ['a', 'b', 'c']) rt.subscribe(name, () => {});
  assert.deepEqual([socket.ops('subscribe').length, clock.timers - timers], [1, 1]);
  await pass(250);
  assert.equal(socket.ops('subscribe').length, 3);
});

test('an error without a question refuses nothing that waits', async () => {
  const socket = await connect({}, { limits: { ...limits, burst: 1 } });
  const ends = [1, 2].map((n) => outcome(rt.publish('a', n)));
  socket.say({ event: 'error', code: 'internal', message: '', retry: false });
  await settle();
  assert.deepEqual([errors, ends.map(({ is }) => is)], [['internal'], ['', '']]);
});

test('nothing runs on for a message that has its answer', async () => {
  const socket = await connect();
  const timers = clock.timers;
  void rt.publish('a', 1);
  socket.answer('publish');
  assert.equal(clock.timers, timers);
});

test('a refused subscription is reported; one that can succeed later is tried again', async () => {
  const socket = await connect();
  rt.subscribe('a', () => {});
  socket.answer('subscribe', { event: 'error', channel: undefined, code: 'unavailable', message: 'later', retry: true });
  await pass(3000);
  assert.equal(socket.ops('subscribe').length, 2);
  socket.answer('subscribe', { event: 'error', channel: undefined, code: 'forbidden', message: 'no', retry: false });
  assert.deepEqual(errors, ['forbidden']);
});

test('a channel is asked for by one operation at a time, so that none begins where an earlier one did not', async () => {
  const first = await connect();
  rt.subscribe('room', () => {});
  first.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  rt.presence('room').onJoin(() => {});
  const second = await again();
  second.answer('subscribe', { event: 'error', channel: undefined, code: 'unavailable', message: 'later', retry: true });
  await pass(3000);
  assert.deepEqual(second.ops('subscribe').map(({ since, presence: p }) => [since, p]), [['c1', undefined], ['c1', undefined]]);
  second.answer('subscribe', { event: 'subscribed', state: 'resumed', cursor: 'c1' });
  assert.deepEqual(second.ops('subscribe').slice(2).map(({ since, presence: p }) => [since, p]), [[undefined, true]]);
  const third = await again();
  rt.presence('room').onLeave(() => {});
  third.answer('subscribe', { event: 'error', channel: undefined, code: 'forbidden', message: 'no', retry: false });
  await settle();
  assert.deepEqual([third.ops('subscribe').length, errors], [1, ['forbidden']]);
});

test('who stops listening and begins again at once is told nothing twice', async () => {
  const socket = await connect();
  const any: unknown[] = [];
  const told: string[] = [];
  rt.onAny(({ event, userId }) => void any.push([event, userId]));
  const listenTo = (): (() => void) => rt.presence('room').onJoin(({ userId }) => void told.push(userId));
  const off = listenTo();
  socket.say({ event: 'subscribed', ref: 1, channel: 'room', state: 'fresh', cursor: 'c1' }, state(member('a')));
  await settle();
  off();
  listenTo();
  await settle();
  if (socket.ops('subscribe').length > 1) socket.say({ event: 'subscribed', ref: 3, channel: 'room', state: 'fresh', cursor: 'c2' }, state(member('a')));
  assert.deepEqual([any, told], [[['presence.join', 'a']], ['a', 'a']]);
  assert.deepEqual(list(socket).slice(1), [['subscribe', 1, 'room']]);
});

test('a roster is what onJoin, onLeave and onUpdate tell', async () => {
  const socket = await connect();
  const told: unknown[] = [];
  const handle = rt.presence('room');
  const offs = (['Join', 'Leave', 'Update'] as const).map((name) => handle[`on${name}`]((m) => void told.push([name, m.userId, m.metadata])));
  await settle();
  assert.deepEqual(list(socket).slice(1), [['subscribe', 1, 'room']]);
  assert.equal(socket.sent[1]!['presence'], true);
  const take = (): unknown[] => told.splice(0);
  socket.say({ event: 'subscribed', ref: 1, channel: 'room', state: 'fresh', cursor: 'c1' }, state(member('a', 1), member('b')));
  assert.deepEqual(take(), [['Join', 'a', 1], ['Join', 'b', undefined]]);
  socket.say(presence('join', 'a', 1), presence('leave', 'z'), presence('update', 'b'));
  assert.deepEqual(take(), []);
  socket.say(presence('join', 'a', 2), presence('update', 'b', { n: 1 }), presence('join', 'c'), presence('leave', 'c'));
  assert.deepEqual(take(), [['Update', 'a', 2], ['Update', 'b', { n: 1 }], ['Join', 'c', undefined], ['Leave', 'c', undefined]]);
  socket.say(state(member('b', { n: 2 }), member('d')));
  assert.deepEqual(take(), [['Leave', 'a', 2], ['Update', 'b', { n: 2 }], ['Join', 'd', undefined]]);
  assert.deepEqual(handle.members().map(({ userId }) => userId), ['b', 'd']);
  for (const off of offs) off();
  await settle();
  assert.equal(socket.ops('unsubscribe').length, 1);
  assert.deepEqual(handle.members(), []);
});

test('a later listener hears who is there, once, and not when it is gone again', async () => {
  const socket = await connect();
  const [early, late]: string[][] = [[], []];
  rt.presence('room').onJoin(({ userId }) => void early!.push(userId));
  await settle();
  socket.say({ event: 'subscribed', ref: 1, channel: 'room', state: 'fresh', cursor: 'c1' }, state(member('a'), member('b')));
  rt.presence('room').onJoin(({ userId }) => void late!.push(userId));
  rt.presence('room').onJoin(() => assert.fail())();
  socket.say(presence('join', 'c'), presence('leave', 'a'));
  assert.deepEqual(late, []);
  await settle();
  assert.deepEqual([early, late], [['a', 'b', 'c'], ['b', 'c']]);
  assert.equal(socket.ops('subscribe').length, 1);
});

test('subscribe and presence share one subscription', async () => {
  const socket = await connect();
  const off = rt.subscribe('room', () => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  const offJoin = rt.presence('room').onJoin(() => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed', cursor: 'c9' });
  offJoin();
  await settle();
  off();
  await settle();
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed', cursor: 'c9' });
  assert.deepEqual(socket.sent.slice(1).map(({ op, since, presence: p }) => [op, since, p]), [
    ['subscribe', undefined, undefined],
    ['subscribe', undefined, true],
    ['subscribe', undefined, false],
    ['unsubscribe', undefined, undefined],
  ]);
});

test('asking for presence as well does not move a subscription', async () => {
  const socket = await connect();
  rt.subscribe('room', () => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  rt.presence('room').onJoin(() => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed', cursor: 'c9' });
  assert.equal((await again()).ops('subscribe')[0]!.since, 'c1');
});

test('onAny hears presence, as the roster sees it', async () => {
  const socket = await connect();
  const any: unknown[] = [];
  rt.onAny(({ event, userId, from }) => void any.push([event, userId, from]));
  rt.presence('room').onLeave(() => {});
  socket.say({ event: 'subscribed', ref: 1, channel: 'room', state: 'fresh', cursor: 'c1' }, state(member('a')));
  socket.say({ ...presence('join', 'b'), from: 'MYTAG' }, presence('join', 'b'), presence('leave', 'a'));
  assert.deepEqual(any, [['presence.join', 'a', undefined], ['presence.join', 'b', clientId], ['presence.leave', 'a', undefined]]);
});

test('join, update, leave', async () => {
  const socket = await connect();
  const handle = rt.presence('room');
  assert.equal(socket.sent.length, 1, 'a handle costs nothing');
  await assert.rejects(handle.update(1), { code: 'not_joined' });
  await handle.leave();
  const ends = [outcome(handle.join('ada', { n: 1 })), outcome(handle.update({ n: 2 }))];
  await settle();
  socket.say({ event: 'subscribed', ref: 1, channel: 'room', state: 'fresh', cursor: 'c1' });
  socket.answer('join');
  socket.answer('update');
  ends.push(outcome(handle.leave()));
  await settle();
  socket.answer('leave');
  await settle();
  assert.deepEqual(socket.sent.slice(1), [
    { ref: 1, op: 'subscribe', channel: 'room', presence: true },
    { ref: 2, op: 'join', channel: 'room', userId: 'ada', metadata: { n: 1 } },
    { ref: 3, op: 'update', channel: 'room', userId: 'ada', metadata: { n: 2 } },
    { ref: 4, op: 'leave', channel: 'room', userId: 'ada' },
    { ref: 5, op: 'unsubscribe', channel: 'room' },
  ]);
  assert.deepEqual(ends.map(({ is }) => is), ['ok', 'ok', 'ok']);
  assert.deepEqual((await again()).sent.slice(1), []);
});

test('of the wishes that wait for an answer to an earlier one only the last is sent', async () => {
  const socket = await connect();
  const handle = rt.presence('room');
  const first = outcome(handle.join('ada', 0));
  const later = Array.from({ length: 100 }, (_, n) => outcome(handle.update(n)));
  await settle();
  assert.deepEqual([socket.sent.length, first.is], [3, '']);
  socket.answer('join');
  await settle();
  assert.deepEqual([first.is, later[0]!.is], ['ok', '']);
  socket.answer('update', { event: 'error', code: 'too_large', message: '', retry: false });
  await settle();
  assert.ok(later.every(({ is }) => is === 'too_large'));
  assert.deepEqual(socket.ops('update').map(({ metadata }) => metadata), [99]);
  const ends = [outcome(handle.update(1)), outcome(handle.update(2)), outcome(handle.leave())];
  socket.answer('update');
  socket.answer('leave');
  await settle();
  assert.deepEqual(ends.map(({ is }) => is), ['ok', 'ok', 'ok']);
  assert.deepEqual([socket.ops('update').map(({ metadata }) => metadata), socket.ops('leave').length], [[99, 1], 1]);
});

test('who has joined is joined again, with what was said last; who was refused is not', async () => {
  const first = await connect();
  const handle = rt.presence('room');
  void handle.join('ada', 1);
  first.answer('join');
  void handle.update(2);
  first.answer('update');
  void rt.presence('other').join('eve');
  first.answer('join', { event: 'error', code: 'user_mismatch', message: '', retry: false });
  const second = await again();
  assert.deepEqual(second.sent.slice(1).map(({ op, channel, metadata }) => [op, channel, metadata]), [['subscribe', 'room', undefined], ['join', 'room', 2]]);
  second.answer('join');
  const third = await again();
  assert.equal(third.ops('join').length, 1, 'and again');
});

test('join, update, and a cut before the answer: joined again, with what was said last', async () => {
  const first = await connect();
  const handle = rt.presence('room');
  void handle.join('ada', 1);
  first.answer('join');
  const end = outcome(handle.update(2));
  const second = await again();
  assert.deepEqual(second.sent.slice(2).map(({ op, metadata }) => [op, metadata]), [['join', 2]]);
  second.answer('join');
  await settle();
  assert.equal(end.is, 'ok');
  const refused = outcome(handle.update('long'));
  const third = await again();
  third.answer('join', { event: 'error', code: 'too_large', message: '', retry: false });
  await settle();
  assert.equal(refused.is, 'too_large');
  assert.deepEqual(third.ops('join').map(({ metadata }) => metadata), ['long', 2], 'as before the refusal');
});

test('a first join waits for its connection as long as it takes', async () => {
  make();
  const end = outcome(rt.presence('room').join('ada', 1));
  await pass(150_000);
  assert.equal(end.is, '');
  rt.connect();
  await settle();
  await FakeSocket.last.greet();
  FakeSocket.last.answer('join');
  await settle();
  assert.equal(end.is, 'ok');
});

test('a leave waits for the join before it, however often that is tried', async () => {
  const first = await connect();
  void rt.presence('room').join('ada');
  first.answer('join');
  const socket = await again();
  const end = outcome(rt.presence('room').leave());
  socket.answer('join', { event: 'error', code: 'unavailable', message: '', retry: true });
  await pass(3000);
  assert.deepEqual(socket.sent.filter(({ op }) => op === 'join' || op === 'leave').map(({ op }) => op), ['join', 'join']);
  socket.answer('join');
  socket.answer('leave');
  await settle();
  assert.equal(end.is, 'ok');
  assert.equal(socket.sent.filter(({ op }) => op === 'leave').length, 1);
});

test('what was not left before the connection broke is not left on the next', async () => {
  const first = await connect();
  void rt.presence('room').join('ada');
  first.answer('join');
  const end = outcome(rt.presence('room').leave());
  const socket = await again();
  assert.deepEqual([list(socket).slice(1), end.is], [[], 'ok']);
});

test('a join without an answer is sent once by the next connection', async () => {
  await connect();
  const end = outcome(rt.presence('room').join('ada', 1));
  const socket = await again();
  assert.deepEqual(list(socket).slice(1), [['subscribe', 1, 'room'], ['join', 2, 'room']]);
  socket.answer('join');
  await settle();
  assert.equal(end.is, 'ok');
});

test('a roster survives the return: missed events come, or a state that is compared', async () => {
  const told: string[] = [];
  const first = await connect();
  rt.presence('room').onJoin(({ userId }) => void told.push('+' + userId));
  rt.presence('room').onLeave(({ userId }) => void told.push('-' + userId));
  await settle();
  first.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  first.say(state(member('a'), member('b')));
  const second = await again();
  assert.deepEqual(second.ops('subscribe').map(({ since, presence: p }) => [since, p]), [['c1', true]]);
  second.answer('subscribe', { event: 'subscribed', state: 'resumed', cursor: 'c1' });
  second.say(presence('leave', 'a'));
  const third = await again();
  third.answer('subscribe', { event: 'subscribed', state: 'reset', reason: 'epoch', cursor: 'd1' });
  third.say(state(member('b'), member('c')));
  assert.deepEqual(told, ['+a', '+b', '-a', '+c']);
});

test('a roster that was never told is asked for after the resumed subscription', async () => {
  const first = await connect();
  rt.subscribe('room', () => {});
  first.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  rt.presence('room').onJoin(() => {});
  const second = await again(); // before the state came
  second.answer('subscribe', { event: 'subscribed', state: 'resumed', cursor: 'c1' });
  assert.deepEqual(second.ops('subscribe').map(({ since, presence: p }) => [since, p]), [['c1', undefined], [undefined, true]]);
});

/** Takes something away, as the server does after a check of rights. */
const taken = (event: string, more: object = {}): object => ({ event, channel: 'room', code: 'forbidden', message: 'no', retry: false, ...more });

test('a subscription that the server takes away is reported, and can be had again', async () => {
  const socket = await connect();
  const heard: unknown[] = [];
  rt.subscribe('room', ({ data }) => void heard.push(data));
  rt.presence('room').onLeave(({ userId }) => void heard.push('gone ' + userId));
  await settle();
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed' });
  socket.say(state(member('ada')));
  socket.say(taken('unsubscribed'), message('room', 'late'));
  await settle();
  assert.deepEqual([errors, heard, rt.presence('room').members()], [['forbidden'], ['gone ada'], []]);
  const before = socket.ops('subscribe').length;
  rt.subscribe('room', () => {});
  await settle();
  assert.equal(socket.ops('subscribe').length, before + 1);
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed', cursor: 'c2' });
  assert.deepEqual(socket.ops('subscribe').slice(before).map((op) => op['presence']), [undefined, true], 'who is there has to be said again');
  socket.say(message('room', 'again'));
  assert.deepEqual(heard, ['gone ada', 'again']);
});

test('a subscription that was refused or taken away is not asked for again for the sake of a presence', async () => {
  const socket = await connect();
  const handle = rt.presence('room');
  void handle.join('ada');
  socket.answer('subscribe', { event: 'error', channel: undefined, code: 'forbidden', message: 'no', retry: false });
  socket.answer('join');
  await settle();
  assert.deepEqual([errors, socket.ops('subscribe').length], [['forbidden'], 1]);
  handle.onJoin(() => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  void handle.update(1);
  socket.say(taken('unsubscribed'));
  socket.answer('update');
  await settle();
  assert.deepEqual([errors, socket.ops('subscribe').length], [['forbidden', 'forbidden'], 2]);
  assert.equal((await again()).ops('subscribe').length, 1);
});

test('a presence that the server ends is reported, and no longer wished for', async () => {
  const socket = await connect();
  void rt.presence('room').join('ada');
  await settle();
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.answer('join');
  socket.say(taken('left', { userId: 'eve' }));
  assert.deepEqual(errors, []);
  socket.say(taken('left', { userId: 'ada' }));
  await settle();
  assert.deepEqual(errors, ['forbidden']);
  assert.equal(socket.ops('unsubscribe').length, 1, 'nobody is left who wants the channel');
  assert.equal((await again()).ops('join').length, 0);
});

test('what is taken away together is not asked for again', async () => {
  const socket = await connect();
  rt.subscribe('room', () => {});
  void rt.presence('room').join('ada');
  await settle();
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed' });
  socket.answer('join');
  const before = socket.sent.length;
  socket.say(taken('unsubscribed'), taken('left', { userId: 'ada' }));
  await settle();
  assert.deepEqual([errors, socket.sent.length], [['forbidden', 'forbidden'], before]);
});

test('who joins as another user is no longer who it was', async () => {
  const socket = await connect();
  const presence = rt.presence('room');
  void presence.join('ada');
  await settle();
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.answer('join');
  void presence.join('eve');
  void presence.join('bob');
  await settle();
  socket.answer('join', { event: 'error', code: 'forbidden', message: 'no', retry: false });
  assert.deepEqual(socket.ops('leave'), []);
  socket.answer('join');
  assert.deepEqual(socket.ops('leave').map(({ userId }) => userId), ['ada']);
  socket.answer('leave');
  void presence.leave();
  await settle();
  assert.deepEqual(socket.ops('leave').map(({ userId }) => userId), ['ada', 'bob']);
});

test('the same listener can listen twice, and one can end another', async () => {
  const socket = await connect();
  const heard: unknown[] = [];
  const cb = ({ data }: { data: unknown }): void => void heard.push(data);
  const offs = [rt.subscribe('a', cb), rt.subscribe('a', cb)];
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.say(message('a', 'x'));
  offs[0]!();
  rt.subscribe('a', () => offs[1]!());
  socket.say(message('a', 'y'));
  const off = rt.subscribe('a', () => late());
  const late = rt.subscribe('a', () => assert.fail());
  socket.say(message('a', 'z'));
  off();
  assert.deepEqual(heard, ['x', 'x', 'y']);
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

test('who listens no longer does not disturb who does', async () => {
  const socket = await connect();
  const off = rt.subscribe('a', () => assert.fail());
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  off();
  await settle();
  socket.answer('unsubscribe');
  const heard: unknown[] = [];
  rt.subscribe('a', ({ data }) => void heard.push(data));
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c2' });
  off();
  await settle();
  socket.say(message('a', 'x'));
  assert.deepEqual(heard, ['x']);
});

test('who stopped listening without a connection begins from the start', async () => {
  const socket = await connect();
  const off = rt.subscribe('a', () => assert.fail());
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  await socket.drop();
  off();
  await settle();
  rt.subscribe('a', () => {});
  page.fire('online');
  await settle();
  await FakeSocket.last.greet();
  assert.deepEqual(FakeSocket.last.ops('subscribe').map(({ since }) => since), [undefined]);
});

test('a roster that nobody is left to want is forgotten', async () => {
  const socket = await connect();
  const any: unknown[] = [];
  rt.onAny(({ event }) => void any.push(event));
  rt.subscribe('room', () => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  const handle = rt.presence('room');
  const off = handle.onJoin(() => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed' });
  socket.say(state(member('a')));
  off();
  await settle();
  socket.say(presence('join', 'b'), state(member('a'), member('b'))); // before the answer
  assert.deepEqual([handle.members(), any], [[], ['presence.join']]);
});

test('a refused roster leaves the subscription, which can be ended', async () => {
  const socket = await connect();
  const off = rt.subscribe('room', () => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  const offJoin = rt.presence('room').onJoin(() => {});
  socket.answer('subscribe', { event: 'error', channel: undefined, code: 'forbidden', message: 'no', retry: false });
  offJoin();
  off();
  await settle();
  assert.equal(socket.ops('unsubscribe').length, 1);
});

test('a join that is taken back before its answer', async () => {
  const socket = await connect();
  const handle = rt.presence('room');
  const ends = [outcome(handle.join('ada')), outcome(handle.leave())];
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.answer('join');
  socket.answer('leave');
  await settle();
  assert.deepEqual(socket.sent.slice(1).map(({ op }) => op), ['subscribe', 'join', 'leave', 'unsubscribe']);
  assert.deepEqual(ends.map(({ is }) => is), ['ok', 'ok']);
});

test('who left without a connection is not back because another was refused', async () => {
  const first = await connect();
  const handle = rt.presence('room');
  rt.subscribe('room', () => {});
  void handle.join('ada');
  first.answer('join');
  await first.drop();
  await handle.leave();
  page.fire('online');
  await settle();
  const socket = FakeSocket.last;
  await socket.greet();
  void handle.join('bob');
  socket.answer('join', { event: 'error', code: 'forbidden', message: 'no', retry: false });
  await settle();
  assert.deepEqual(socket.ops('join').map(({ userId }) => userId), ['bob']);
});

test('a refusal that nobody waits for names its channel', async () => {
  const socket = await connect();
  const named: unknown[] = [];
  rt.onError((error) => void named.push((error as { channel?: string }).channel));
  rt.subscribe('a', () => {});
  socket.answer('subscribe', { event: 'error', channel: undefined, code: 'forbidden', message: 'no', retry: false });
  rt.subscribe('room', () => {});
  void rt.presence('room').join('ada');
  socket.answer('join');
  socket.say(taken('left', { userId: 'ada' }));
  socket.say({ event: 'error', code: 'bad_request', message: '', retry: false });
  assert.deepEqual(named, ['a', 'room', undefined]);
});

test('a presence that cannot be had again is reported, once a connection', async () => {
  const first = await connect();
  void rt.presence('room').join('ada');
  first.answer('join');
  for (const wanted of [['forbidden'], ['forbidden', 'forbidden']]) {
    const socket = await again();
    socket.answer('join', { event: 'error', code: 'forbidden', message: 'no', retry: false });
    await settle();
    assert.deepEqual([errors, socket.ops('join').length], [wanted, 1]);
  }
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

test('a beat without a cursor moves nothing', async () => {
  const socket = await connect();
  rt.subscribe('a', () => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.say({ event: 'ping', ts: 1 });
  assert.equal((await again()).ops('subscribe')[0]!.since, 'c1');
});

test('the user that the server knows can be told to leave', async () => {
  const socket = await connect();
  void rt.presence('room').join();
  socket.answer('join');
  socket.say(taken('left', { userId: 'ada' }));
  await settle();
  assert.deepEqual([errors, socket.ops('leave')], [['forbidden'], []]);
  assert.equal((await again()).ops('join').length, 0);
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
  rt = new RealtimeClient({ clientId, getToken: () => Promise.reject(new Error('no session')) });
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

test('who joined as the user the server knows, and has changed since, is joined again', async () => {
  const first = await connect();
  const handle = rt.presence('room');
  void handle.join(undefined, 1);
  first.answer('join');
  void handle.update(2);
  first.answer('update');
  const second = await again();
  assert.deepEqual(second.sent.slice(2).map(({ op, metadata }) => [op, metadata]), [['join', 2]]);
});

test('a refused change leaves no subscription that nobody wants', async () => {
  const socket = await connect();
  const off = rt.subscribe('room', () => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  const offJoin = rt.presence('room').onJoin(() => {});
  off();
  offJoin();
  await settle();
  socket.answer('subscribe', { event: 'error', channel: undefined, code: 'forbidden', message: 'no', retry: false });
  assert.equal(socket.ops('unsubscribe').length, 1);
});

test('a subscription waits for the end of the one before, even if that is refused for the moment', async () => {
  const socket = await connect();
  const offs = [1, 2].map(() => rt.subscribe('room', () => {}));
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  for (const off of offs) off();
  await settle();
  rt.subscribe('room', () => {});
  socket.answer('unsubscribe', { event: 'error', code: 'rate_limited', message: 'slow', retry: true });
  await pass(3000);
  assert.deepEqual(socket.sent.slice(2).map(({ op }) => op), ['unsubscribe', 'unsubscribe']);
  socket.answer('unsubscribe');
  assert.equal(socket.ops('subscribe').length, 2);
});

for (const begins of ['subscribed', 'reset'])
  test(`a cut between a ${begins} that tells of a gap and the roster after it: the roster is asked for again`, async () => {
    const told: string[] = [];
    let socket = await connect();
    rt.presence('room').onJoin(({ userId }) => void told.push('+' + userId));
    rt.presence('room').onLeave(({ userId }) => void told.push('-' + userId));
    await settle();
    socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
    socket.say(state(member('a'), member('b')));
    if (begins === 'subscribed') {
      socket = await again();
      socket.answer('subscribe', { event: 'subscribed', state: 'reset', reason: 'evicted', cursor: 'd1' });
    } else socket.say({ event: 'reset', channel: 'room', reason: 'backend', cursor: 'd1' });
    socket = await again();
    socket.answer('subscribe', { event: 'subscribed', state: 'resumed', cursor: 'd1' });
    socket.answer('subscribe', { event: 'subscribed', state: 'resumed' });
    socket.say(state(member('b'), member('c')));
    assert.deepEqual(socket.ops('subscribe').map(({ since, presence: p }) => [since, p]), [['d1', undefined], [undefined, true]]);
    assert.deepEqual(told, ['+a', '+b', '-a', '+c']);
  });

test('a leave ends with the leave before it', async () => {
  const socket = await connect();
  const handle = rt.presence('room');
  void handle.join('ada');
  socket.answer('join');
  const ends = [outcome(handle.leave()), outcome(handle.leave())];
  await settle();
  assert.deepEqual(ends.map(({ is }) => is), ['', '']);
  socket.answer('leave');
  await settle();
  assert.deepEqual(ends.map(({ is }) => is), ['ok', 'ok']);
});

test('who was told to leave is not back because another was refused', async () => {
  const socket = await connect();
  const handle = rt.presence('room');
  void handle.join('ada');
  socket.answer('join');
  void handle.join('eve');
  socket.say(taken('left', { userId: 'ada' }));
  socket.answer('join', { event: 'error', code: 'forbidden', message: 'no', retry: false });
  await settle();
  const end = outcome(handle.update(1));
  await settle();
  assert.deepEqual([end.is, (await again()).ops('join')], ['not_joined', []]);
});

test('a subscription that was taken away while it was asked for again is asked for once more, and can be ended', async () => {
  const socket = await connect();
  const off = rt.subscribe('room', () => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  const offJoin = rt.presence('room').onJoin(() => {});
  socket.say(taken('unsubscribed'));
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c2' });
  off();
  offJoin();
  await settle();
  assert.equal(socket.ops('unsubscribe').length, 1);
});

test('what a disconnect refused leaves no channel in use', async () => {
  const kept: Map<string, unknown>[] = [];
  const RealMap = Map;
  globalThis.Map = class extends RealMap<string, unknown> {
    constructor() {
      super();
      kept.push(this);
    }
  } as MapConstructor;
  make();
  globalThis.Map = RealMap;
  const end = outcome(rt.presence('room').join('ada'));
  rt.disconnect();
  await settle();
  assert.deepEqual([end.is, kept.map(({ size }) => size)], ['closing', [0]]);
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
