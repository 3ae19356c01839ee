import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clock, FakeSocket, limits, pass, settle } from './fakes.js';
import { again, connect, list, make, outcome, page, rt, errors } from './realtimekit.js';

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
