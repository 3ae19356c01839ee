// The past of channels: pages of it, and listeners that begin with it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import '../src/history.js';
import { FakeSocket, pass, settle, type Op } from './fakes.js';
import { clientId, connect, errors, rt } from './rtkit.js';

const message = (id: string, more: object = {}): object => ({ event: 'message', channel: 'room', data: id, ts: 1, id, ...more });
const last = (socket: FakeSocket, op: string): Op => socket.ops(op).at(-1)!;
const answer = async (socket: FakeSocket, op: string, more: object): Promise<void> => {
  socket.say({ event: op === 'subscribe' ? 'subscribed' : op, ref: last(socket, op).ref, channel: 'room', ...more });
  await settle();
};

test('a page', async () => {
  const socket = await connect();
  const page = rt.history('room', { before: 'm9', limit: 2 });
  const { ref: _, ...op } = last(socket, 'history');
  assert.deepEqual(op, { op: 'history', channel: 'room', before: 'm9', limit: 2 });
  await answer(socket, 'history', { messages: [message('m7', { from: 'MYTAG' }), message('m8', { from: 'OTHER' })], before: 'm7' });
  const { messages, ...rest } = await page;
  assert.deepEqual(messages.map(({ id, from }) => [id, from]), [['m7', clientId], ['m8', 'OTHER']]);
  assert.deepEqual(rest, { before: 'm7' });
  const none = rt.history('room');
  await answer(socket, 'history', { messages: [], end: 'start' });
  assert.deepEqual(await none, { messages: [], end: 'start' });
});

test('a page is asked for again on the next connection, and a refusal is told', async () => {
  await connect();
  const page = rt.history('room');
  await FakeSocket.last.drop();
  await pass(15_000);
  await FakeSocket.last.greet();
  const socket = FakeSocket.last;
  socket.say({ event: 'error', ref: last(socket, 'history').ref, code: 'forbidden', message: 'no', retry: false });
  await assert.rejects(page, { code: 'forbidden' });
  rt.disconnect();
  await settle();
  await assert.rejects(rt.history('room'), { code: 'closing' });
});

test('a listener begins with the last messages', async () => {
  const socket = await connect();
  const told: string[] = [];
  const all: string[] = [];
  rt.subscribe('room', ({ id }) => void all.push(id!));
  rt.subscribe('room', ({ id, from }) => void told.push(id! + (from === clientId ? ' own' : '')), { rewind: 3 });
  await settle();
  await answer(socket, 'subscribe', { state: 'fresh', cursor: 'c1' });
  assert.deepEqual(socket.ops('subscribe').map(({ ref: _, ...op }) => op), [
    { op: 'subscribe', channel: 'room' },
    { op: 'subscribe', channel: 'room', rewind: 3 },
  ]);
  const second = last(socket, 'subscribe');
  socket.say(message('m4'));
  await settle();
  assert.deepEqual(told, []);
  socket.say({ event: 'subscribed', ref: second.ref, channel: 'room', state: 'resumed', messages: [message('m2'), message('m3', { from: 'MYTAG' }), message('m4')], before: 'm2' }, message('m5'));
  await settle();
  assert.deepEqual([told, all], [['m2', 'm3 own', 'm4', 'm5'], ['m4', 'm5']]);
  // It does so once: after a loss it goes on where it was.
  await socket.drop();
  await pass(15_000);
  await FakeSocket.last.greet();
  assert.deepEqual(FakeSocket.last.ops('subscribe').map(({ since, rewind }: Op & { rewind?: number }) => [since, rewind]), [['m5', undefined]]);
});

test('a connection that is lost before the answer', async () => {
  const socket = await connect();
  const told: string[] = [];
  rt.subscribe('room', ({ id }) => void told.push(id!), { rewindMs: 60_000 });
  await settle();
  const [first] = socket.ops('subscribe') as [Op];
  socket.say({ event: 'subscribed', ref: first.ref, channel: 'room', state: 'fresh', cursor: 'c1' }, message('m1'));
  await socket.drop();
  await pass(15_000);
  await FakeSocket.last.greet();
  await answer(FakeSocket.last, 'subscribe', { state: 'resumed', cursor: 'm1' });
  assert.deepEqual(FakeSocket.last.ops('subscribe').map(({ ref: _, ...op }) => op), [
    { op: 'subscribe', channel: 'room', since: 'm1' },
    { op: 'subscribe', channel: 'room', rewindMs: 60_000 },
  ]);
  await answer(FakeSocket.last, 'subscribe', { state: 'resumed', messages: [message('m1')], end: 'start' });
  assert.deepEqual(told, ['m1']);
});

test('where the subscription is refused for the moment, nothing is lost', async () => {
  const socket = await connect();
  const told: string[] = [];
  rt.subscribe('room', ({ id }) => void told.push(id!), { rewind: 3 });
  await settle();
  const log = ['m1'];
  let [served, begun] = [0, false];
  const serve = async (): Promise<void> => {
    for (const { ref, rewind } of socket.ops('subscribe').slice(served) as (Op & { rewind?: number })[]) {
      if (!served++) socket.say({ event: 'error', ref, code: 'unavailable', message: '', retry: true });
      else {
        const messages = rewind ? { messages: log.map((id) => message(id)) } : {};
        socket.say({ event: 'subscribed', ref, channel: 'room', state: begun ? 'resumed' : 'fresh', ...(begun ? {} : { cursor: 'c1' }), ...messages });
        begun = true;
      }
      await settle();
    }
  };
  await serve();
  log.push('m2');
  if (begun) socket.say(message('m2'));
  await pass(3_000);
  await serve();
  await serve();
  assert.deepEqual([told, errors], [['m1', 'm2'], []]);
});

test('a subscription that is refused is told once', async () => {
  const socket = await connect();
  rt.subscribe('room', () => {}, { rewind: 3 });
  await settle();
  for (const { ref } of socket.ops('subscribe')) socket.say({ event: 'error', ref, code: 'forbidden', message: 'no', retry: false });
  await settle();
  assert.deepEqual([errors, socket.ops('subscribe').length], [['forbidden room'], 1]);
});

test('what is refused of the options leaves the subscription', async () => {
  const socket = await connect();
  const told: string[] = [];
  rt.subscribe('room', ({ id }) => void told.push(id!), { rewind: 1e6 });
  await settle();
  await answer(socket, 'subscribe', { state: 'fresh', cursor: 'c1' });
  socket.say({ event: 'error', ref: last(socket, 'subscribe').ref, code: 'bad_request', message: 'too many', retry: false }, message('m1'));
  await settle();
  assert.deepEqual([told, errors], [['m1'], ['bad_request room']]);
});

test('who stops listening is told nothing, and asks nothing', async () => {
  const socket = await connect();
  const told: string[] = [];
  const stop = rt.subscribe('room', ({ id }) => {
    told.push(id!);
    stop();
  }, { rewind: 3 });
  await settle();
  const [first] = socket.ops('subscribe') as [Op];
  socket.say({ event: 'subscribed', ref: first.ref, channel: 'room', state: 'fresh', cursor: 'c1' });
  await answer(socket, 'subscribe', { state: 'resumed', messages: [message('m1'), message('m2')], end: 'start' });
  assert.deepEqual(told, ['m1']);
  await settle();
  assert.equal(socket.ops('unsubscribe').length, 1);
});

test('the presence that is asked for stays so', async () => {
  const socket = await connect();
  rt.presence('room').onJoin(() => {});
  rt.subscribe('room', () => {}, { rewind: 3 });
  await settle();
  await answer(socket, 'subscribe', { state: 'fresh', cursor: 'c1' });
  assert.deepEqual(socket.ops('subscribe').map(({ ref: _, ...op }) => op), [
    { op: 'subscribe', channel: 'room', presence: true },
    { op: 'subscribe', channel: 'room', presence: true, rewind: 3 },
  ]);
});

test('a rewind that is refused for the moment is not said again once nobody waits for it', async () => {
  const socket = await connect();
  const stop = rt.subscribe('room', () => {}, { rewind: 3 });
  await settle();
  await answer(socket, 'subscribe', { state: 'fresh', cursor: 'c1' });
  const { ref } = last(socket, 'subscribe');
  stop();
  await settle();
  socket.say({ event: 'error', ref, code: 'rate_limited', message: 'later', retry: true });
  socket.answer('unsubscribe');
  await pass(10_000);
  assert.deepEqual([socket.sent.at(-1)!.op, socket.ops('subscribe').length, errors], ['unsubscribe', 2, []]);
});
