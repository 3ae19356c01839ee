import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeSocket, pass, settle } from './fakes.js';
import { again, connect, list, make, member, outcome, page, presence, rt, state, errors, taken } from './realtimekit.js';

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

test('the user that the server knows can be told to leave', async () => {
  const socket = await connect();
  void rt.presence('room').join();
  socket.answer('join');
  socket.say(taken('left', { userId: 'ada' }));
  await settle();
  assert.deepEqual([errors, socket.ops('leave')], [['forbidden'], []]);
  assert.equal((await again()).ops('join').length, 0);
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

test('what is said is what it was when it was said', async () => {
  let socket = await connect();
  const handle = rt.presence('room');
  const me: { name: string; self?: unknown } = { name: 'ada' };
  void handle.join('ada', me);
  socket.answer('join');
  me.name = 'too long';
  void handle.update(me);
  assert.equal((socket.ops('update')[0]!['metadata'] as typeof me).name, 'too long');
  socket.answer('update', { event: 'error', code: 'too_large', message: 'no', retry: false });
  me.self = me; // which there is no JSON of
  const refused = outcome(handle.update(me));
  socket = await again();
  assert.deepEqual(socket.ops('join').map(({ metadata }) => metadata), [{ name: 'ada' }], 'what the server had agreed to');
  socket.answer('join');
  const end = outcome(rt.publish('room', 1));
  socket.answer('publish');
  await settle();
  assert.deepEqual([end.is, refused.is, errors], ['ok', undefined, []]);
});
