// What is published live only.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import '../src/ephemeral.js';
import '../src/history.js';
import { FakeSocket, pass, settle } from './fakes.js';
import { connect, errors, make, rt } from './rtkit.js';

const data = (socket: FakeSocket): unknown[] => socket.ops('publish').map((op) => op['data']);

test('it is sent once, without an id, and its refusal is told', async () => {
  const socket = await connect();
  const said = { type: 'typing', n: 1 };
  await rt.publish('room', said, { ephemeral: true });
  said.n = 2;
  const [op] = socket.ops('publish');
  assert.deepEqual([op!['ephemeral'], op!['id'], op!['data']], [true, undefined, { type: 'typing', n: 1 }]);
  socket.answer('publish', { event: 'error', code: 'forbidden', message: 'no', retry: false });
  await settle();
  assert.deepEqual(errors, ['forbidden room']);
});

test('without a connection nobody gets it, and none is sent on the next', async () => {
  make();
  await rt.publish('room', 1, { ephemeral: true });
  rt.connect();
  await settle();
  await FakeSocket.last.greet();
  assert.deepEqual(data(FakeSocket.last), []);
  await rt.publish('room', 2, { ephemeral: true });
  await FakeSocket.last.drop();
  await pass(5_000);
  await FakeSocket.last.greet();
  assert.deepEqual(data(FakeSocket.last), []);
  await rt.publish('room', 3, { ephemeral: true });
  assert.deepEqual(data(FakeSocket.last), [3]);
});

test('of what waits for its turn the newest of each type is sent', async () => {
  const socket = await connect({ message: 65536, rate: 10, burst: 3 });
  for (let n = 0; n < 50; n++) {
    await rt.publish('room', { type: 'typing', n }, { ephemeral: true });
    await rt.publish('room', { type: 'cursor', n }, { ephemeral: true });
  }
  await pass(3_000);
  const sent = data(socket) as { type: string; n: number }[];
  assert.ok(sent.length < 10, String(sent.length));
  for (const type of ['typing', 'cursor']) assert.equal(sent.filter((one) => one.type === type).at(-1)!.n, 49);
});

test('others are published as ever, with a history beside', async () => {
  const socket = await connect();
  void rt.publish('room', 1, {});
  void rt.publish('room', 2);
  rt.history('room').catch(() => {}); // refused in the end
  await settle();
  assert.deepEqual(data(socket), [1, 2]);
  assert.ok(socket.ops('publish').every((op) => op.id && !('ephemeral' in op)));
  assert.equal(socket.ops('history').length, 1);
});
