// Several objects through which one client is present in one channel.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { Presence } from '../src/presence.js';
import { RealtimeClient } from '../src/realtime.js';
import { presenceStore } from '../src/stores.js';
import { begin, FakeSocket, settle, type Op } from './fakes.js';

let rt: RealtimeClient;
let one: Presence;
let two: Presence;
let refuse: ((op: Op) => boolean) | undefined;

beforeEach(async () => {
  begin();
  refuse = undefined;
  rt = new RealtimeClient({ clientId: 'client-of-this-tab' });
  rt.connect();
  await settle();
  await FakeSocket.last.greet();
  FakeSocket.serve = (to, op) =>
    setImmediate(() => {
      if (op.op === 'subscribe') to.say({ event: 'subscribed', ref: op.ref, channel: op.channel, state: 'fresh', cursor: 'c1' });
      else if (refuse?.(op)) to.say({ event: 'error', ref: op.ref, code: 'too_large', message: 'no', retry: false });
      else to.say({ event: 'ok', ref: op.ref });
    });
  [one, two] = [rt.presence('room'), rt.presence('room')];
});

afterEach(() => rt.disconnect());

/** What was said of the presence by now. */
async function said(): Promise<string[]> {
  await settle();
  return FakeSocket.last.sent.filter(({ op }) => /join|leave|update/.test(op)).map(({ op, userId }) => op + ' ' + String(userId));
}

for (const first of [0, 1]) test(`a client is present until the last has left (${first})`, async () => {
  await Promise.all([one.join('ada'), two.join('ada')]);
  const [a, b] = first ? [two, one] : [one, two];
  await a!.leave();
  await a!.join('ada');
  await a!.leave();
  assert.equal((await said()).includes('leave ada'), false);
  await b!.leave();
  assert.equal((await said()).at(-1), 'leave ada');
});

test('three objects, one of which joins again while it leaves: the last one ends it', async () => {
  const three = rt.presence('room');
  await Promise.all([one, two, three].map((handle) => handle.join('ada')));
  void two.leave();
  void two.join('ada');
  await Promise.all([one.leave(), three.leave()]);
  assert.equal((await said()).includes('leave ada'), false);
  const left = two.leave();
  const again = two.join('ada');
  await Promise.all([left, again]);
  assert.equal((await said()).at(-1), 'join ada');
  await two.leave();
  assert.equal((await said()).at(-1), 'leave ada');
});

for (const [name, leave] of Object.entries({
  'again': async () => {
    await one.leave();
    await one.leave();
  },
  'several times at once': () => Promise.all([one.leave(), one.leave(), one.leave()]),
}))
  test(`who leaves ${name} leaves once`, async () => {
    await Promise.all([one.join('ada'), two.join('ada')]);
    await leave();
    assert.equal((await said()).includes('leave ada'), false);
    await two.leave();
    assert.equal((await said()).at(-1), 'leave ada');
  });

test('who has left does not end what others have begun since', async () => {
  await one.join('ada');
  await one.leave();
  await two.join('ada');
  await one.leave();
  assert.equal((await said()).at(-1), 'join ada');
});

test('whose user somebody else has replaced does not end the new one', async () => {
  await one.join('ada');
  await two.join('eve');
  await one.leave();
  assert.equal((await said()).includes('leave eve'), false);
});

test('an update changes nothing of who is present through what', async () => {
  await Promise.all([one.join('ada'), two.join('ada')]);
  await one.update({ n: 1 });
  await one.leave();
  assert.equal((await said()).includes('leave ada'), false);
  await two.leave();
  assert.equal((await said()).at(-1), 'leave ada');
});

test('one that has not joined ends it for all', async () => {
  await Promise.all([one.join('ada'), two.join('ada')]);
  await rt.presence('room').leave();
  assert.equal((await said()).at(-1), 'leave ada');
  await Promise.all([one.leave(), two.leave()]);
  assert.equal((await said()).filter((line) => line.startsWith('leave')).length, 1);
});

test('who joins as another user is the only one', async () => {
  await one.join('ada');
  await two.join('eve');
  assert.equal((await said()).at(-1), 'leave ada');
  await two.leave();
  assert.equal((await said()).at(-1), 'leave eve');
});

test('who was refused keeps nobody present', async () => {
  await one.join('ada');
  refuse = (op) => op['metadata'] === 'large';
  const refused = assert.rejects(two.join('ada', 'large'), { code: 'too_large' });
  await refused;
  await one.leave();
  assert.equal((await said()).at(-1), 'leave ada');
});

test('who was refused ends nobody else by leaving', async () => {
  await one.join('ada');
  refuse = (op) => op['metadata'] === 'large';
  await assert.rejects(two.join('ada', 'large'), { code: 'too_large' });
  await two.leave();
  assert.equal((await said()).includes('leave ada'), false);
});

test('who was there and is refused holds the presence', async () => {
  await Promise.all([one.join('ada'), two.join('ada')]);
  refuse = (op) => op['metadata'] === 'large';
  await assert.rejects(one.join('ada', 'large'), { code: 'too_large' });
  await two.leave();
  assert.equal((await said()).includes('leave ada'), false);
  await one.leave();
  assert.equal((await said()).at(-1), 'leave ada');
});

test('who was there and is refused is there', async () => {
  await one.join('ada');
  refuse = (op) => op['metadata'] === 'large';
  await assert.rejects(one.join('ada', 'large'), { code: 'too_large' });
  assert.deepEqual(await said(), ['join ada', 'join ada']);
});

test('what the server has ended nobody holds', async () => {
  await Promise.all([one.join('ada'), two.join('ada')]);
  rt.onError(() => {});
  FakeSocket.last.say({ event: 'left', channel: 'room', userId: 'ada', code: 'forbidden', message: 'no', retry: false });
  await one.join('ada');
  await one.leave();
  assert.equal((await said()).at(-1), 'leave ada');
});

test('stores count among themselves, whichever leaves last', async () => {
  const offs = [presenceStore(rt, 'room').join('ada'), presenceStore(rt, 'room').join('ada')];
  await settle();
  offs[0]!();
  assert.equal((await said()).includes('leave ada'), false);
  offs[1]!();
  assert.equal((await said()).at(-1), 'leave ada');
});

test('a join that has no answer when the server ends the presence counts, and what was said of it since', async () => {
  await one.join('ada', 1);
  const { serve } = FakeSocket;
  FakeSocket.serve = undefined;
  const socket = FakeSocket.last;
  const again = [one.join('ada', 2), one.update(3)];
  await settle();
  socket.say({ event: 'left', channel: 'room', userId: 'ada', code: 'forbidden', message: 'no', retry: false });
  socket.answer('join');
  FakeSocket.serve = serve;
  await settle();
  socket.answer('update');
  await Promise.all(again);
  assert.deepEqual(socket.sent.filter(({ op }) => /join|update|leave/.test(op)).map(({ op, metadata }) => [op, metadata]), [['join', 1], ['join', 2], ['update', 3]]);
});
