import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RealtimeEvent, RealtimeReset } from '../src/channel.js';
import { FakeSocket, limits, pass, settle } from './fakes.js';
import { again, clientId, connect, list, make, member, message, outcome, page, presence, rt, state, errors, resets, taken } from './realtimekit.js';

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

test('a beat without a cursor moves nothing', async () => {
  const socket = await connect();
  rt.subscribe('a', () => {});
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.say({ event: 'ping', ts: 1 });
  assert.equal((await again()).ops('subscribe')[0]!.since, 'c1');
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
