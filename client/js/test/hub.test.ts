import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRing } from '../src/share/ring.js';
import { pass } from './fakes.js';
import { alone, answer, hub, list, op, ref, sent, told } from './hubkit.js';

test('a tab that asks another leader is not spoken for', () => {
  op('stranger', 'publish', { data: 1 });
  assert.deepEqual(sent, []);
});

test('answers go to who asked, with the number they asked by', () => {
  op('a', 'publish', { data: 1 });
  op('b', 'publish', { data: 2 });
  assert.deepEqual(sent.map(({ ref: n, cid }) => [n, cid]), [[1, 'client of a'], [2, 'client of b']]);
  hub.take_('{"event":"ok","ref":2}\n{"event":"error","ref":1,"code":"forbidden"}');
  assert.deepEqual(told, [['b', '{"event":"ok","ref":2}'], ['a', '{"event":"error","ref":1,"code":"forbidden"}']]);
});

test('together the tabs are no faster than one may be', async () => {
  for (let n = 0; n < 10; n++) for (const tab of ['a', 'b']) op(tab, 'publish', { data: n });
  assert.equal(sent.length, 8);
  await pass(1000);
  assert.ok(sent.length <= 17);
  await pass(1000);
  assert.equal(sent.length, 20);
});

test('who finds no room has to have a connection of its own, unless it is the only one', () => {
  op('a', 'subscribe');
  answer({ event: 'error', code: 'channel_limit' });
  assert.deepEqual([alone, told], [['a'], []]);
  hub.leave_('a');
  op('b', 'subscribe');
  answer({ event: 'error', code: 'channel_limit' });
  assert.deepEqual([alone, told.length], [['a'], 1]);
});

test('so has who cannot be told what it has missed', () => {
  op('a', 'subscribe');
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c5' });
  op('b', 'subscribe', { since: 'c3' });
  answer({ event: 'subscribed', channel: 'room', state: 'resumed' });
  assert.deepEqual(alone, ['b']);
});

test('a subscription that goes on gets what came of its channel, and the cursor of another channel does not count', () => {
  op('a', 'subscribe');
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c1' });
  for (const [id, channel] of [['c2', 'room'], ['c3', 'other'], ['c4', 'room']]) hub.take_(JSON.stringify({ event: 'message', channel, id }));
  told.length = 0;
  op('b', 'subscribe', { since: 'c2' });
  answer({ event: 'subscribed', channel: 'room', state: 'resumed' });
  assert.deepEqual(told.map(([to, text]) => [to, (JSON.parse(text!) as { event: string }).event, (JSON.parse(text!) as { id?: string }).id]), [
    ['b', 'subscribed', undefined], ['b', 'message', 'c4'],
  ]);
  op('b', 'subscribe', { since: 'c3' });
  answer({ event: 'subscribed', channel: 'room', state: 'resumed' });
  assert.deepEqual(alone, ['b']);
});

for (const since of ['c2', 'p3']) test('what came while nobody was subscribed is not passed off as resumed: ' + since, () => {
  op('a', 'subscribe');
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c1' });
  hub.take_(JSON.stringify({ event: 'message', channel: 'room', id: 'c2' }));
  hub.take_(JSON.stringify({ event: 'ping', cursor: 'p3' }));
  op('a', 'unsubscribe'); // a page that goes into the back/forward cache: the last of the channel
  answer({ event: 'ok' });
  // Here c4 is published, which does not come.
  op('b', 'subscribe');
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c5' });
  hub.take_(JSON.stringify({ event: 'message', channel: 'room', id: 'c6' }));
  told.length = 0;
  op('a', 'subscribe', { since });
  answer({ event: 'subscribed', channel: 'room', state: 'resumed' });
  assert.deepEqual([alone, told], [['a'], []]);
});

test('what comes late of a subscription that is over is not what the next goes on from', () => {
  op('a', 'subscribe');
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c1' });
  op('a', 'unsubscribe');
  op('a', 'subscribe');
  hub.take_(JSON.stringify({ event: 'message', channel: 'room', id: 'c2' }));
  // Here c3 is published, which does not come.
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c4' });
  op('b', 'subscribe', { since: 'c2' });
  answer({ event: 'subscribed', channel: 'room', state: 'resumed' });
  assert.deepEqual(alone, ['b']);
});

test('who goes on is told neither of pings nor of who was present', () => {
  op('a', 'subscribe', { presence: true });
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c1' });
  hub.take_('{"event":"presence.state","channel":"room","members":[],"cursor":"c1.5"}');
  hub.take_('{"event":"ping","cursor":"c2"}');
  hub.take_('{"event":"message","channel":"room","id":"c3"}');
  told.length = 0;
  op('b', 'subscribe', { since: 'c1' });
  answer({ event: 'subscribed', channel: 'room', state: 'resumed' });
  assert.deepEqual(told.slice(1), [['b', '{"event":"message","channel":"room","id":"c3"}']]);
});

test('the channels share the room for what is kept', () => {
  for (const channel of ['room', 'other']) {
    op('a', 'subscribe', { channel });
    answer({ event: 'subscribed', channel, state: 'fresh', cursor: 'c0' });
  }
  const data = 'x'.repeat(1 << 20);
  for (let n = 1; n <= 3; n++) hub.take_(JSON.stringify({ event: 'message', channel: 'room', id: 'c' + n, data }));
  for (const since of ['c3', 'c2']) {
    op('b', 'subscribe', { since });
    answer({ event: 'subscribed', channel: 'room', state: 'resumed' });
  }
  assert.deepEqual(alone, ['b'], 'of two messages of 1 Mi units there is room for one, as they are a little longer');
});

test('a subscription goes on from where it began for others', () => {
  op('a', 'subscribe');
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c1' });
  hub.take_(JSON.stringify({ event: 'message', channel: 'room', id: 'c2' }));
  told.length = 0;
  op('b', 'subscribe', { since: 'c1' });
  answer({ event: 'subscribed', channel: 'room', state: 'resumed' });
  assert.deepEqual([alone, told.length], [[], 2]);
});

test('a repeated subscribe that is refused ends nothing', () => {
  op('a', 'subscribe');
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c1' });
  op('b', 'subscribe');
  answer({ event: 'subscribed', channel: 'room', state: 'resumed' });
  op('a', 'subscribe', { presence: true });
  answer({ event: 'error', code: 'rate_limited', retry: true });
  op('b', 'unsubscribe');
  assert.deepEqual(sent.filter(({ op: name }) => name === 'unsubscribe'), []);
});

test('the refusal of who has gone does not bring it back', () => {
  op('a', 'subscribe');
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c1' });
  op('b', 'subscribe');
  answer({ event: 'subscribed', channel: 'room', state: 'resumed' });
  op('a', 'subscribe', { presence: true });
  hub.leave_('a');
  answer({ event: 'error', code: 'rate_limited', retry: true });
  op('b', 'unsubscribe');
  assert.equal(list().at(-1)?.toString(), 'unsubscribe,client of b');
});

test('presence is asked for while any tab wants it', () => {
  op('a', 'subscribe', { presence: true });
  op('b', 'subscribe');
  assert.deepEqual(sent.map((o) => o['presence']), [true, true]);
});

test('a refused rewind leaves the presence that is asked for', () => {
  op('a', 'subscribe', { presence: true });
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c1' });
  for (const what of [{ rewind: 3 }, { rewindMs: 3 }]) {
    op('a', 'subscribe', { presence: true, ...what });
    answer({ event: 'error', code: 'forbidden', message: 'no', retry: false });
    op('b', 'subscribe');
    assert.equal(sent.at(-1)!['presence'], true);
  }
});

test('what the server takes away nobody has', () => {
  op('a', 'subscribe', { presence: true });
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c1' });
  hub.take_(JSON.stringify({ event: 'unsubscribed', channel: 'room', code: 'forbidden' }));
  assert.equal(told.at(-1)![0], undefined, 'all are told');
  op('b', 'subscribe');
  assert.equal(sent.at(-1)!['presence'], false);
  hub.leave_('a');
  assert.deepEqual(list().slice(2), []);
});

/** The presence operations that went to the server, each as its op, user and metadata. */
const presence = (): string[] =>
  sent.filter((o) => /join|update|leave/.test(o.op)).map(({ op: name, userId, metadata }) => [name, userId, metadata].filter(Boolean).join(' '));
const answerAll = (): void => sent.forEach(({ ref: n }) => hub.take_(JSON.stringify({ event: 'ok', ref: n })));

for (const first of ['a', 'c']) test(`a user is present as long as any tab of the client is for it, whichever leaves first (${first})`, () => {
  hub.add_('c', 'client of a');
  const last = first === 'a' ? 'c' : 'a';
  op('a', 'join', { userId: 'ada' });
  op('c', 'join', { userId: 'ada' });
  answerAll();
  op(first, 'leave', { userId: 'ada' });
  assert.deepEqual(presence(), ['join ada', 'join ada']);
  assert.deepEqual(told.at(-1), [first, JSON.stringify({ event: 'ok', ref })]);
  op(first, 'leave', { userId: 'ada' });
  assert.deepEqual(presence(), ['join ada', 'join ada'], 'who leaves twice leaves once');
  op(last, 'leave', { userId: 'ada' });
  assert.deepEqual(presence(), ['join ada', 'join ada', 'leave ada']);
});

test('of three tabs it takes three to leave', () => {
  for (const tab of ['c', 'd']) hub.add_(tab, 'client of a');
  for (const tab of ['a', 'c', 'd', 'a']) op(tab, 'join', { userId: 'ada' });
  for (const tab of ['d', 'a']) op(tab, 'leave', { userId: 'ada' });
  assert.equal(presence().includes('leave ada'), false);
  op('c', 'leave', { userId: 'ada' });
  assert.equal(presence().at(-1), 'leave ada');
});

test('what the tabs that are left have said last is shown', () => {
  hub.add_('c', 'client of a');
  op('a', 'join', { userId: 'ada', metadata: '1' });
  op('c', 'join', { userId: 'ada', metadata: '2' });
  op('c', 'update', { userId: 'ada', metadata: '3' });
  answerAll();
  op('c', 'leave', { userId: 'ada' });
  assert.deepEqual(presence().slice(3), ['update ada 1']);
  told.length = 0;
  hub.take_(JSON.stringify({ event: 'ok', ref: sent.at(-1)!.ref }));
  assert.deepEqual(told, [], 'nobody has asked for that');
  op('c', 'join', { userId: 'ada', metadata: '4' });
  op('a', 'leave', { userId: 'ada' });
  assert.deepEqual(presence().slice(4), ['join ada 4'], 'who leaves was not shown');
});

test('the user that the server knows is the same, named or not', () => {
  hub.add_('c', 'client of a');
  op('a', 'join');
  op('c', 'join', { userId: 'ada' });
  op('a', 'leave');
  assert.deepEqual(presence(), ['join', 'join ada']);
  op('c', 'leave', { userId: 'ada' });
  assert.equal(presence().at(-1), 'leave ada');
});

test('other users, other clients and other channels are presences of their own', () => {
  hub.add_('c', 'client of a');
  op('a', 'join', { userId: 'ada' });
  op('c', 'join', { userId: 'eve' });
  op('b', 'join', { userId: 'ada' });
  op('a', 'join', { userId: 'ada', channel: 'other' });
  op('a', 'leave', { userId: 'ada' });
  assert.deepEqual([presence().at(-1), sent.at(-1)!.cid], ['leave ada', 'client of a']);
  op('c', 'leave', { userId: 'eve' });
  op('b', 'leave', { userId: 'ada' });
  op('a', 'leave', { userId: 'ada', channel: 'other' });
  assert.deepEqual(presence().slice(4), ['leave ada', 'leave eve', 'leave ada', 'leave ada']);
});

test('a tab that vanishes leaves after the grace, unless the client is present by another one', async () => {
  for (const tab of ['c', 'd']) hub.add_(tab, 'client of a');
  op('a', 'join', { userId: 'ada', metadata: '1' });
  op('c', 'join', { userId: 'ada', metadata: '2' });
  hub.leave_('c');
  await pass(2999);
  assert.deepEqual(presence().slice(2), []);
  await pass(1);
  assert.deepEqual(presence().slice(2), ['update ada 1']);
  hub.leave_('a'); // and is back, reloaded
  hub.add_('a2', 'client of a');
  op('a2', 'join', { userId: 'ada', metadata: '3' });
  await pass(5000);
  assert.deepEqual(presence().slice(3), ['join ada 3']);
  hub.leave_('a2');
  await pass(3000);
  assert.deepEqual(presence().slice(4), ['leave ada']);
});

test('of three tabs of one client one is closed, one leaves, and the last is there until it goes', async () => {
  for (const tab of ['c', 'd']) hub.add_(tab, 'client of a');
  for (const tab of ['a', 'c', 'd']) op(tab, 'join', { userId: 'ada' });
  hub.leave_('c'); // without a word
  op('a', 'leave', { userId: 'ada' });
  op('a', 'join', { userId: 'ada' });
  op('a', 'leave', { userId: 'ada' });
  await pass(5000);
  assert.equal(presence().includes('leave ada'), false);
  hub.leave_('d');
  await pass(2999);
  assert.equal(presence().includes('leave ada'), false);
  await pass(1);
  assert.equal(presence().at(-1), 'leave ada');
});

test('who is back and leaves does not wait for the grace of the page before', async () => {
  op('a', 'join', { userId: 'ada' });
  hub.leave_('a');
  hub.add_('a2', 'client of a');
  op('a2', 'join', { userId: 'ada' });
  op('a2', 'leave', { userId: 'ada' });
  assert.equal(presence().at(-1), 'leave ada');
  await pass(5000);
  assert.equal(presence().length, 3);
});

test('a tab whose join is refused does not keep the user present', () => {
  hub.add_('c', 'client of a');
  op('a', 'join', { userId: 'ada' });
  answer({ event: 'ok' });
  op('c', 'join', { userId: 'ada', metadata: 'too large' });
  const { ref: refused } = sent.at(-1)!;
  op('a', 'leave', { userId: 'ada' });
  assert.equal(presence().includes('leave ada'), false, 'the other may be let in');
  hub.take_(JSON.stringify({ event: 'error', ref: refused, code: 'too_large', message: '', retry: false }));
  assert.equal(presence().at(-1), 'leave ada');
});

test('a refused update leaves what was said before', () => {
  hub.add_('c', 'client of a');
  op('a', 'join', { userId: 'ada', metadata: '1' });
  op('c', 'join', { userId: 'ada', metadata: '2' });
  answerAll();
  op('a', 'update', { userId: 'ada', metadata: 'x' });
  answer({ event: 'error', code: 'too_large', message: '', retry: false });
  op('c', 'leave', { userId: 'ada' });
  assert.equal(presence().filter((line) => line === 'leave ada').length, 0);
  op('a', 'leave', { userId: 'ada' });
  assert.equal(presence().at(-1), 'leave ada');
});

test('a join that is refused for the moment is still wanted', () => {
  hub.add_('c', 'client of a');
  op('a', 'join', { userId: 'ada' });
  answer({ event: 'ok' });
  op('c', 'join', { userId: 'ada' });
  answer({ event: 'error', code: 'unavailable', message: '', retry: true });
  op('a', 'leave', { userId: 'ada' });
  assert.equal(presence().includes('leave ada'), false);
});

test('nobody is present for whom the server has ended it', async () => {
  hub.add_('c', 'client of a');
  for (const tab of ['a', 'c']) op(tab, 'join', { userId: 'ada' });
  op('b', 'join', { userId: 'eve' });
  hub.take_(JSON.stringify({ event: 'left', channel: 'room', userId: 'ada', code: 'forbidden', message: 'no', retry: false }));
  op('a', 'join', { userId: 'ada' });
  op('a', 'leave', { userId: 'ada' });
  assert.equal(presence().at(-1), 'leave ada', 'the other has heard that it is over');
  hub.leave_('b');
  await pass(3000);
  assert.equal(presence().at(-1), 'leave eve');
});

for (const first of [1, 2, 3, 4]) test(`tabs join, leave, come and go as they like: a user is present while one of them wants it (${first})`, async () => {
  let seed = first * 7919;
  const random = (n: number): number => (seed = (seed * 48271) % 0x7fffffff) % n;
  let wants = new Map<string, string>(); // what tabs have said last of being present
  let there: string | undefined; // the metadata that the server shows
  let n = 0;
  for (const tab of ['a', 'b']) hub.leave_(tab);
  for (let step = 0; step < 200; step++) {
    const tabs = [...wants.keys()];
    const tab = tabs[random(Math.max(tabs.length, 1))];
    const what = random(5);
    if (!tab || (what === 0 && tabs.length < 4)) {
      wants.set('tab' + step, '');
      hub.add_('tab' + step, 'one client');
    } else if (what === 1) {
      op(tab, 'leave', { userId: 'ada' });
      wants.set(tab, '');
    } else if (what === 2 && tabs.length > 1) {
      hub.leave_(tab);
      wants.delete(tab);
      await pass(3000);
    } else {
      const metadata = `of ${tab}: ${step}`;
      op(tab, wants.get(tab) && random(2) ? 'update' : 'join', { userId: 'ada', metadata });
      wants = new Map([...wants].filter(([name]) => name !== tab)).set(tab, metadata);
    }
    await pass(1000); // by which all is sent
    for (; n < sent.length; n++) {
      const { op: name, metadata } = sent[n]!;
      if (name !== 'unsubscribe') there = name === 'leave' ? undefined : String(metadata);
      hub.take_(JSON.stringify({ event: 'ok', ref: sent[n]!.ref }));
    }
    assert.equal(there, [...wants.values()].filter(Boolean).at(-1), `step ${step}`);
  }
});

test('a ring keeps so many entries, and so much text', () => {
  const many = createRing<number>();
  for (let n = 0; n < 1500; n++) many.add_(n, 1);
  assert.deepEqual([many.entries_.length, many.entries_[0]], [1000, 500]);
  const large = createRing<number>();
  for (let n = 0; n < 10; n++) large.add_(n, 1 << 20);
  assert.deepEqual(large.entries_, [6, 7, 8, 9]);
  large.add_(10, 5 << 20);
  assert.deepEqual(large.entries_, [10]);
});

test('a tab that asks again for what the server takes away is not forgotten', () => {
  op('a', 'subscribe');
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c1' });
  op('b', 'subscribe');
  hub.take_(JSON.stringify({ event: 'unsubscribed', channel: 'room', code: 'forbidden', message: 'no', retry: false }));
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c2' });
  op('b', 'unsubscribe');
  assert.deepEqual(sent.map(({ op: what }) => what), ['subscribe', 'subscribe', 'unsubscribe']);
  answer({ event: 'ok' });
  op('a', 'subscribe');
  answer({ event: 'subscribed', channel: 'room', state: 'fresh', cursor: 'c3' });
  op('a', 'subscribe', { presence: true });
  hub.take_(JSON.stringify({ event: 'unsubscribed', channel: 'room', code: 'forbidden', message: 'no', retry: false }));
  answer({ event: 'error', code: 'forbidden', message: 'no', retry: false });
  op('a', 'unsubscribe');
  assert.equal(sent.length, 5, 'nobody is left who subscribes');
});

test('of two subscribes that are on their way, the one that is agreed to counts', () => {
  op('a', 'subscribe', { rewind: 1000 });
  op('a', 'subscribe');
  const [first, second] = sent;
  hub.take_(JSON.stringify({ event: 'error', ref: first!.ref, code: 'bad_request', message: 'no', retry: false }));
  hub.take_(JSON.stringify({ event: 'subscribed', ref: second!.ref, channel: 'room', state: 'fresh', cursor: 'c1' }));
  op('b', 'subscribe');
  answer({ event: 'subscribed', channel: 'room', state: 'resumed' });
  op('b', 'unsubscribe');
  assert.equal(sent.length, 3, 'the first tab still listens');
});
