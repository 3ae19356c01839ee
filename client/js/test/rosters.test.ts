// Rosters that come in parts, and what the server takes away.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import type { RealtimeReset } from '../src/channel.js';
import { RealtimeClient } from '../src/realtime.js';
import { begin, dice, FakeSocket, pass, settle } from './fakes.js';

let rt: RealtimeClient;
let socket: FakeSocket;
let told: string[], resets: RealtimeReset[], errors: unknown[];

beforeEach(async () => {
  begin();
  dice(0.5);
  [told, resets, errors] = [[], [], []];
  rt = new RealtimeClient({ clientId: 'browserbrowser.tab1' });
  rt.onReset((reset) => void resets.push(reset));
  rt.onError((error) => void errors.push((error as { code?: string }).code));
  rt.subscribe('room', ({ data }) => void told.push(String(data)));
  rt.presence('room').onJoin(({ userId }) => void told.push('+' + userId));
  rt.presence('room').onLeave(({ userId }) => void told.push('-' + userId));
  rt.connect();
  await settle();
  await FakeSocket.last.greet();
  socket = FakeSocket.last;
});

afterEach(() => {
  rt.disconnect();
  mock.restoreAll();
});

const fresh = { event: 'subscribed', state: 'fresh', cursor: 'c1' };
const members = (...names: string[]): object[] => names.map((userId) => ({ userId, lastSeen: 1 }));
const part = (names: string[], n: number, last = false): object => ({
  event: 'presence.state', channel: 'room', members: members(...names), ...(n ? { part: n } : {}), ...(last ? { cursor: 'cs' } : { more: true }),
});
const message = (data: string, channel = 'room'): object => ({ event: 'message', channel, data, ts: 1, id: data });
const roster = (): string[] => rt.presence('room').members().map(({ userId }) => userId);
const subscribes = (): unknown[] => socket.ops('subscribe').map(({ since, presence }) => [since, presence]);
const taken = (more: object = {}): object => ({ event: 'unsubscribed', channel: 'room', code: 'forbidden', message: 'no', retry: false, ...more });

/** The connection breaks, and the next one is greeted. */
async function again(): Promise<void> {
  await socket.drop();
  await pass(1_000);
  socket = FakeSocket.last;
  await socket.greet();
}

test('the parts of a roster are one; messages may stand between them', () => {
  socket.answer('subscribe', fresh);
  socket.say(part(['a', 'b'], 0), message('m1'), part(['c'], 1));
  socket.say({ event: 'message', channel: 'other', data: 'x', id: 'x' });
  assert.deepEqual([told, roster()], [['m1'], []]);
  socket.say(message('m2'), part(['d'], 2, true));
  assert.deepEqual(told, ['m1', 'm2', '+a', '+b', '+c', '+d']);
  assert.deepEqual(roster(), ['a', 'b', 'c', 'd']);
});

test('a roster of 20,000 members arrives', () => {
  socket.answer('subscribe', fresh);
  const all = Array.from({ length: 20_000 }, (_, n) => 'user' + n);
  for (let n = 0; n < 200; n++) socket.say(part(all.slice(n * 100, n * 100 + 100), n, n === 199));
  assert.deepEqual(roster(), all);
});

test('a whole roster in several parts is compared with the one before', () => {
  socket.answer('subscribe', fresh);
  socket.say(part(['a', 'b', 'c'], 0, true));
  told = [];
  socket.say(part(['b'], 0), part(['d'], 1, true));
  assert.deepEqual([told, roster()], [['-a', '-c', '+d'], ['b', 'd']]);
});

test('a roster that begins drops one that is not complete, and a part without its beginning counts for nothing', () => {
  socket.answer('subscribe', fresh);
  socket.say(part(['x'], 1), part(['y'], 2, true));
  assert.deepEqual(roster(), []);
  socket.say(part(['a'], 0), part(['b'], 0), part(['c'], 1, true));
  assert.deepEqual(roster(), ['b', 'c']);
  socket.say(part(['a'], 0), part(['z'], 2, true), part(['z'], 1, true));
  assert.deepEqual(roster(), ['b', 'c'], 'nor does one of which a part is missing');
});

test('a cut in the middle of a roster has it asked for again', async () => {
  socket.answer('subscribe', fresh);
  socket.say(part(['a', 'b'], 0, true));
  socket.say(part(['b'], 0)); // after a check of rights, e.g.
  await again();
  assert.deepEqual(subscribes(), [['c1', undefined]]);
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed', cursor: 'c1' });
  assert.deepEqual(subscribes(), [['c1', undefined], [undefined, true]]);
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed' });
  socket.say(part(['c'], 1, true)); // of nothing
  socket.say(part(['b'], 0), part(['c'], 1, true));
  assert.deepEqual([roster(), resets], [['b', 'c'], []]);
});

test('what has come of a roster does not outlive the wish to know it', async () => {
  socket.answer('subscribe', fresh);
  socket.say(part(['a'], 0));
  socket.say(taken());
  rt.subscribe('room', () => {}); // asks again
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed', cursor: 'c1' });
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed' });
  socket.say(part(['b'], 1, true));
  assert.deepEqual(roster(), []);
  socket.say(part(['c'], 0, true));
  assert.deepEqual(roster(), ['c']);
});

test('what is taken away for the moment is asked for again, from its cursor, and nobody is told', async () => {
  socket.answer('subscribe', fresh);
  socket.say(part(['a'], 0, true), message('m1'));
  socket.say(taken({ code: 'unavailable', retry: true, cursor: 'c5' }), message('late'));
  await settle();
  assert.deepEqual(subscribes(), [[undefined, true], ['c5', true]]);
  socket.answer('subscribe', { event: 'error', code: 'unavailable', message: '', retry: true });
  await pass(3_000);
  assert.equal(subscribes().length, 3);
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed', cursor: 'c5' });
  socket.say({ event: 'presence.leave', channel: 'room', userId: 'a', ts: 1, id: 'c6' }, message('m2'));
  assert.deepEqual([told, errors, resets, roster()], [['+a', 'm1', '-a', 'm2'], [], [], []]);
});

test('what is taken away for the moment, and then for good, is told, and the roster forgotten', () => {
  socket.answer('subscribe', fresh);
  socket.say(part(['a'], 0, true), taken({ code: 'unavailable', retry: true }));
  socket.answer('subscribe', { event: 'error', code: 'forbidden', message: 'no', retry: false });
  assert.deepEqual([told, errors, roster(), subscribes().length], [['+a', '-a'], ['forbidden'], [], 2]);
});

test('who is refused after the return is told nothing more of those who are there', async () => {
  socket.answer('subscribe', fresh);
  socket.say(part(['a'], 0, true));
  await again();
  socket.answer('subscribe', { event: 'error', code: 'forbidden', message: 'no', retry: false });
  assert.deepEqual([told, errors, roster()], [['+a', '-a'], ['forbidden'], []]);
});

test('what is taken away while more is asked for begins with a reset where it does not go on', async () => {
  rt.disconnect();
  rt = new RealtimeClient({ clientId: 'browserbrowser.tab1' });
  rt.onReset((reset) => void resets.push(reset));
  rt.connect();
  await settle();
  socket = FakeSocket.last;
  await socket.greet();
  rt.subscribe('room', () => {});
  socket.answer('subscribe', fresh);
  rt.presence('room').onJoin(() => {}); // asks for more
  socket.say(taken({ code: 'unavailable', retry: true, cursor: 'c5' }));
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c9' });
  assert.deepEqual(resets, [{ channel: 'room', reason: 'unknown' }]);
});

test('a presence that is ended for the moment is wished for again, one that is ended for good is not', async () => {
  socket.answer('subscribe', fresh);
  const presence = rt.presence('room');
  void presence.join('ada', { n: 1 });
  socket.answer('join');
  socket.say({ event: 'left', channel: 'room', userId: 'ada', code: 'unavailable', message: '', retry: true });
  assert.deepEqual(socket.ops('join').map(({ userId, metadata }) => [userId, metadata]), [['ada', { n: 1 }], ['ada', { n: 1 }]]);
  socket.answer('join');
  assert.deepEqual(errors, []);
  socket.say({ event: 'left', channel: 'room', userId: 'ada', code: 'forbidden', message: '', retry: false });
  await settle();
  assert.deepEqual([errors, socket.ops('join').length], [['forbidden'], 2]);
  void presence.join('ada');
  assert.equal(socket.ops('join').length, 3, 'and can be had again');
});
