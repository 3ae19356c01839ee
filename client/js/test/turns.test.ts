// What is no longer wanted when its turn comes is not sent.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { RealtimeClient } from '../src/realtime.js';
import { begin, FakeSocket, limits, pass, settle, type Op } from './fakes.js';

let rt: RealtimeClient;
let socket: FakeSocket;
let present: Set<string>; // what the server has agreed to
let subscribed: Set<string>;

beforeEach(async () => {
  begin();
  rt = new RealtimeClient({ clientId: 'client-of-this-tab' });
  rt.connect();
  await settle();
  socket = FakeSocket.last;
  await socket.greet({ limits });
  [present, subscribed] = [new Set(), new Set()];
  FakeSocket.serve = (to, op) => setImmediate(() => answer(to, op));
});

afterEach(() => rt.disconnect());

function answer(to: FakeSocket, { op, ref, channel }: Op): void {
  if (op === 'subscribe') subscribed.add(channel!);
  if (op === 'unsubscribe') subscribed.delete(channel!);
  if (op === 'join') present.add(channel!);
  if (op === 'leave') present.delete(channel!);
  to.say(op === 'subscribe' ? { event: 'subscribed', ref, channel, state: 'fresh', cursor: 'c1' } : { event: 'ok', ref });
}

/** What is sent until nothing has been for a while. */
async function all(): Promise<Op[]> {
  await pass(20_000);
  return socket.sent.slice(1);
}

/** Has the server busy for so long that nothing of what follows is sent at once. */
function flood(): number {
  for (let n = 0; n < 60; n++) void rt.publish('flood', n);
  return socket.sent.length;
}

test('sixty rooms entered and left within two seconds', async () => {
  const ends: Promise<void>[] = [];
  for (let n = 0; n < 60; n++) {
    const room = rt.presence('room:' + n);
    const offs = [rt.subscribe('room:' + n, () => {}), room.onJoin(() => {})];
    ends.push(room.join('ada'));
    await pass(2000 / 60);
    if (n === 59) break;
    offs.forEach((off) => off());
    ends.push(room.leave());
  }
  const inTime = socket.sent.length - 1;
  const ops = await all();
  assert.ok(ops.length < inTime + 20, `${ops.length - inTime} operations after the last room was entered`);
  assert.deepEqual([[...subscribed], [...present]], [['room:59'], ['room:59']]);
  await Promise.all(ends);
});

test('what is taken back before it is sent is not sent, and everybody is told', async () => {
  const before = flood();
  const room = rt.presence('room');
  const off = rt.subscribe('room', () => {});
  const ends = [room.join('ada'), room.update({ n: 1 }), room.leave()];
  off();
  await all();
  assert.deepEqual(socket.sent.slice(before).filter(({ channel }) => channel === 'room'), []);
  await Promise.all(ends);
});

test('of what is said in turn the last is sent, once', async () => {
  const before = flood();
  const room = rt.presence('room');
  void room.join('ada', { n: 1 });
  void room.leave();
  void room.join('ada', { n: 2 });
  await all();
  const ops = socket.sent.slice(before).filter(({ channel }) => channel === 'room');
  assert.deepEqual(ops.map(({ op, metadata }) => [op, metadata]), [['subscribe', undefined], ['join', { n: 2 }]]);
});

test('who stops listening and begins again while that waits misses nothing', async () => {
  const got: unknown[] = [];
  let off = rt.subscribe('room', ({ data }) => void got.push(data));
  await settle();
  const before = flood();
  off();
  await settle();
  socket.say({ event: 'message', channel: 'room', data: 1, id: 'c2' });
  off = rt.subscribe('room', ({ data }) => void got.push(data));
  socket.say({ event: 'message', channel: 'room', data: 2, id: 'c3' });
  await all();
  assert.deepEqual(socket.sent.slice(before).filter(({ channel }) => channel === 'room'), []);
  socket.say({ event: 'message', channel: 'room', data: 3, id: 'c4' });
  assert.deepEqual(got, [2, 3]);
  await socket.drop();
  await pass(1500);
  await FakeSocket.last.greet();
  assert.equal(FakeSocket.last.ops('subscribe').find(({ channel }) => channel === 'room')!.since, 'c4');
});

test('a channel that is taken away while more of it is about to be asked for is asked for as a new one', async () => {
  rt.subscribe('room', () => {});
  await settle();
  const before = flood();
  rt.presence('room').onJoin(() => {});
  socket.say({ event: 'unsubscribed', channel: 'room', code: 'unavailable', message: 'later', retry: true, cursor: 'c9' });
  await all();
  const [op] = socket.sent.slice(before).filter(({ channel }) => channel === 'room');
  assert.deepEqual([op!.op, op!.since], ['subscribe', 'c9']);
});

test('a connection that is lost while something waits its turn asks for it on the next', async () => {
  flood();
  rt.subscribe('room', () => {});
  void rt.presence('room').join('ada');
  await socket.drop();
  await pass(1500);
  socket = FakeSocket.last;
  await socket.greet({ limits });
  await all();
  assert.deepEqual([[...subscribed], [...present]], [['room'], ['room']]);
});

for (const then of ['the connection is lost', 'somebody else uses the channel'])
  test('a join withdrawn before its turn, after the last listener has gone, settles: ' + then, async () => {
    const off = rt.subscribe('room', () => {});
    await settle();
    FakeSocket.serve = undefined;
    void rt.publish('other', 1);
    socket.answer('publish', { event: 'error', code: 'rate_limited', message: 'later', retry: true }); // nothing more for a second
    const ends: unknown[] = [];
    off();
    await settle();
    await pass(4000);
    const { ref } = socket.ops('unsubscribe').at(-1)!;
    socket.answer('publish', { event: 'error', code: 'rate_limited', message: 'later', retry: true });
    const room = rt.presence('room');
    for (const asked of [room.join('ada'), room.leave()]) void asked.then(() => ends.push('ok'), ({ code }) => ends.push(code));
    socket.say({ event: 'ok', ref });
    FakeSocket.serve = (to, op) => setImmediate(() => answer(to, op));
    if (then.startsWith('s')) rt.subscribe('room', () => {});
    else {
      await socket.drop();
      await pass(2000);
      await FakeSocket.last.greet({ limits });
    }
    await pass(5000);
    assert.deepEqual(ends, ['ok', 'ok']);
  });
