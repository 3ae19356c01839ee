import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { shareTabs } from '../src/share.js';
import { layer } from '../src/transport.js';
import { clock, pass, requests, settle } from './fakes.js';
import { count, direct, openRen, openRt, server, type RenTab, type RtTab } from './tabkit.js';
import { locks } from './tabs.js';

test('REN: the tabs of a browser share one stream, and know their own', async () => {
  const tabs = [await openRen('a'), await openRen('b'), await openRen('c')];
  assert.equal(server.streams().length, 1);
  server.publish('x', 1, 'tag of client-of-tab-b');
  server.publish('x', 2);
  await settle();
  assert.deepEqual(tabs.map(({ got, own, states }) => [got, own, states]), [
    [[1, 2], [], ['open']], [[1, 2], [1], ['open']], [[1, 2], [], ['open']],
  ]);
});

test('a tab that opens while the lead changes hands', async () => {
  for (let turns = 0; turns < 16; turns++) {
    const [first, second] = [await openRen('a'), await openRen('b')];
    const opening = openRen('c');
    for (let i = 0; i < turns; i++) await new Promise((done) => setImmediate(done));
    await first.tab.kill();
    const third = await opening;
    await pass(750);
    server.publish('room', turns);
    await settle();
    assert.deepEqual([second.got, third.got, server.streams().length], [[turns], [turns], 1], `after ${turns} turns`);
    for (const one of [second, third]) await one.tab.kill();
  }
});

test('tabs that open at once', async () => {
  const tabs = await Promise.all([...'abcdef'].flatMap((name) => [openRen(name), openRt(name + name)]));
  await pass(250);
  server.publish('room', 1);
  await settle();
  assert.deepEqual(tabs.map(({ got }) => got), tabs.map(() => [1]));
  assert.deepEqual([server.streams().length, server.sockets().length], [1, 1]);
});

for (const how of ['killed', 'closed', 'hidden'] as const) {
  test(`REN: when the leader is ${how} another goes on after its cursor`, async () => {
    const tabs = [await openRen('a'), await openRen('b'), await openRen('c')];
    server.publish('x', 1);
    server.ping();
    await settle();
    const [leader] = tabs;
    if (how === 'killed') await leader!.tab.kill();
    else if (how === 'closed') leader!.tab.run(() => leader!.ren.close());
    else leader!.tab.run(() => leader!.tab.page.fire('pagehide'));
    server.publish('x', 2);
    await pass(250);
    server.publish('x', 3);
    await settle();
    assert.deepEqual(tabs.map(({ got }) => got), [[1], [1, 2, 3], [1, 2, 3]]);
    assert.equal(server.streams().length, 1);
    if (how !== 'hidden') return;
    leader!.tab.run(() => leader!.tab.page.fire('pageshow'));
    await settle();
    await pass(250);
    server.publish('x', 4);
    await settle();
    assert.deepEqual(tabs.map(({ got }) => got), [[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]]);
    assert.equal(server.streams().length, 1);
    assert.deepEqual(tabs.map(({ resets }) => resets), [0, 0, 0]);
  });
}

test('REN: a stream that breaks is opened again by one of them', async () => {
  const tabs = [await openRen('a'), await openRen('b'), await openRen('c')];
  server.publish('x', 1);
  await settle();
  const before = requests.length;
  await server.streams()[0]!.cut();
  await pass(100);
  server.publish('x', 2);
  assert.deepEqual(tabs.map(({ ren }) => ren.state), ['connecting', 'connecting', 'connecting']);
  await pass(1500);
  assert.deepEqual([requests.length - before, server.streams().length], [3, 1], 'each is greeted, one leads');
  assert.deepEqual(tabs.map(({ got }) => got), [[1, 2], [1, 2], [1, 2]]);
});

test('all are sent away together, and are back when told to', async () => {
  const tabs = [await openRen('a'), await openRen('b'), await openRt('c'), await openRt('d')];
  server.bye();
  await settle();
  assert.deepEqual(tabs.map((tab) => ('ren' in tab ? tab.ren : tab.rt).state), Array(4).fill('connecting'));
  server.publish('room', 1);
  await pass(999);
  assert.deepEqual([server.streams().length, server.sockets().length], [0, 0]);
  await pass(500);
  assert.deepEqual([server.streams().length, server.sockets().length], [1, 1]);
  assert.deepEqual(tabs.map(({ got }) => got), [[1], [1], [1], [1]]);
});

test('REN: what a page has read is where it begins, whatever the leader has been told before', async () => {
  const first = await openRen('a');
  server.publish('x', 'before');
  await settle();
  clock.tick(5);
  const fetched = { cursor: 'e.77 of another view', at: clock.now }; // the log's head is beyond what the stream shows
  clock.tick(5);
  server.publish('x', 'between');
  await settle();
  clock.tick(5);
  const { noteRequest } = await import('../src/readCursor.js');
  const at = clock.now;
  clock.now = fetched.at;
  noteRequest()(fetched.cursor);
  clock.now = at;
  server.install();
  const second = await openRen('b');
  server.publish('x', 'after');
  await settle();
  assert.equal(server.streams().length, 1);
  assert.deepEqual([first.got, second.got], [['before', 'between', 'after'], ['between', 'after']]);
});

test('REN: who cannot be told what is missing has a stream of its own, until the leader knows its place', async () => {
  const first = await openRen('a');
  server.publish('x', 1);
  await settle();
  const second = await openRen('b');
  second.tab.run(() => second.tab.page.fire('pagehide'));
  for (let n = 2; n < 1200; n++) server.publish('x', n); // more than a leader keeps
  await settle();
  second.tab.run(() => second.tab.page.fire('pageshow'));
  await pass(750);
  assert.equal(server.streams().length, 2);
  assert.deepEqual(second.got, count(2, 1199));
  server.publish('x', 1200);
  server.ping();
  await pass(750);
  assert.equal(server.streams().length, 1);
  server.publish('x', 1201);
  await settle();
  assert.deepEqual([first.got, second.got], [count(1, 1201), count(2, 1201)]);
});

test('REN: other users, other domains, other names and tokens do not share', async () => {
  await openRen('a');
  await openRen('b', { subscriptions: ['kv'] });
  await openRen('c', { getToken: () => 'T' });
  await openRen('d', { getToken: () => 'T', shareTabs: 'ada' });
  await openRen('e', { shareTabs: false });
  assert.equal(server.streams().length, 5);
  await openRen('f', { getToken: () => 'T', shareTabs: 'ada' });
  assert.equal(server.streams().length, 5);
  server.user = 'eve';
  await openRen('g');
  assert.equal(server.streams().length, 6);
  await openRen('h');
  assert.equal(server.streams().length, 6);
  server.domains = ['kv']; // the same user, but with other rights
  await openRen('i');
  assert.equal(server.streams().length, 7);
});

test('REN: a leader that hangs loses the lead', async () => {
  const tabs = [await openRen('a'), await openRen('b')];
  tabs[0]!.tab.hang();
  const late = await openRen('c');
  tabs[0]!.tab.wake();
  server.publish('x', 1);
  server.publish('x', 2);
  await settle();
  assert.deepEqual(late.got, [1, 2]);
  await pass(2_000);
  server.publish('x', 3);
  await settle();
  assert.equal(server.streams().length, 1);
  assert.deepEqual(tabs.map(({ got }) => got), [[1, 2, 3], [1, 2, 3]]);
});

test('REN: without the platform\'s help every tab has its own', async () => {
  Object.assign(layer, direct);
  Object.assign(globalThis, { isSecureContext: false });
  shareTabs();
  await openRen('a');
  await openRen('b');
  assert.equal(server.streams().length, 2);
});

test('channels: the tabs share one socket; each gets its own answers, and knows its own messages', async () => {
  const tabs = [await openRt('a'), await openRt('b'), await openRt('c')];
  assert.equal(server.sockets().length, 1);
  const ends: string[] = [];
  for (const { tab, rt } of tabs) tab.run(() => void rt.publish('room', rt.getClientId()).then(() => ends.push(rt.getClientId())));
  await settle();
  const names = ['a', 'b', 'c'].map((name) => 'client-of-tab-' + name);
  assert.deepEqual(tabs.map(({ got }) => [...got].sort()), [names, names, names]);
  assert.deepEqual(tabs.map(({ own }) => own), names.map((name) => [name]));
  assert.deepEqual(ends.sort(), names);
  assert.deepEqual([...new Set(server.sockets()[0]!.ops('publish').map((op) => op['cid']))].sort(), names);
});

for (const how of ['killed', 'closed'] as const) {
  test(`channels: when the leader is ${how} another goes on, and nothing is lost or doubled`, async () => {
    const tabs = [await openRt('a'), await openRt('b'), await openRt('c')];
    server.publish('room', 1);
    await settle();
    const late = await openRt('d');
    server.publish('room', 2);
    await settle();
    const [leader] = tabs;
    server.answers = false;
    tabs[1]!.tab.run(() => void tabs[1]!.rt.publish('room', 'mine'));
    await settle();
    server.answers = true;
    if (how === 'killed') await leader!.tab.kill();
    else leader!.tab.run(() => leader!.rt.disconnect());
    server.publish('room', 3);
    await pass(250);
    server.publish('room', 4);
    await settle();
    const sets = [tabs[1]!, tabs[2]!, late].map(({ got }) => got);
    const after = server.log.slice(2).map(({ data }) => data);
    assert.deepEqual([...after].sort(), [3, 4, 'mine']);
    assert.deepEqual(sets, [[1, 2, ...after], [1, 2, ...after], [2, ...after]]);
    assert.deepEqual(tabs[1]!.own, ['mine']);
    assert.equal(server.sockets().length, 1);
  });
}

test('channels: who goes is unsubscribed and leaves; who reloads in time does not', async () => {
  const tabs = [await openRt('a'), await openRt('b'), await openRt('c')];
  for (const [i, { tab, rt }] of tabs.entries()) tab.run(() => void rt.presence('room').join('user' + i));
  tabs[1]!.tab.run(() => void tabs[1]!.rt.subscribe('alone', () => {}));
  await settle();
  await tabs[1]!.tab.kill();
  await tabs[2]!.tab.kill();
  await settle();
  assert.deepEqual(server.sockets()[0]!.ops('unsubscribe').map(({ channel }) => channel), ['alone']);
  const back = await openRt('c');
  back.tab.run(() => void back.rt.presence('room').join('user2'));
  await pass(2_500);
  assert.deepEqual(server.presence.filter((line) => line.startsWith('leave')), []);
  await pass(1_000);
  assert.deepEqual(server.presence.filter((line) => line.startsWith('leave')), ['leave client-of-tab-b room user1']);
  back.tab.run(() => void back.rt.presence('room').leave());
  await settle();
  assert.equal(server.presence.at(-1), 'leave client-of-tab-c room user2');
});

test('channels: a refusal of the connection is one for all', async () => {
  const tabs = [await openRt('a'), await openRt('b')];
  await server.sockets()[0]!.drop(4403);
  await settle();
  assert.deepEqual(tabs.map(({ rt, errors }) => [rt.state, errors]), [['closed', ['forbidden']], ['closed', ['forbidden']]]);
});

test('channels: a connection that breaks is opened again by one of them, after a wait', async () => {
  const tabs = [await openRt('a'), await openRt('b'), await openRt('c')];
  await server.sockets()[0]!.drop();
  server.publish('room', 1);
  await settle();
  assert.equal(server.sockets().length, 0);
  await pass(1_500);
  assert.equal(server.sockets().length, 1);
  assert.deepEqual(tabs.map(({ got }) => got), [[1], [1], [1]]);
});

test('channels: a channel stays subscribed while a tab is left that wants it', async () => {
  const tabs = [await openRt('a'), await openRt('b')];
  const socket = server.sockets()[0]!;
  tabs[0]!.tab.run(() => tabs[0]!.rt.subscribe('other', () => {})());
  await settle();
  assert.equal(socket.ops('unsubscribe').length, 1);
  const off = tabs[1]!.tab.run(() => tabs[1]!.rt.subscribe('both', () => {}));
  tabs[0]!.tab.run(() => tabs[0]!.rt.subscribe('both', () => {}));
  await settle();
  tabs[1]!.tab.run(off);
  await settle();
  assert.equal(socket.ops('unsubscribe').length, 1);
});

test('channels: a leader that hangs loses the lead', async () => {
  const tabs = [await openRt('a'), await openRt('b')];
  tabs[0]!.tab.hang();
  const late = await openRt('c');
  tabs[0]!.tab.wake();
  await settle();
  server.publish('room', 1);
  await settle();
  assert.deepEqual(late.got, [1]);
  await pass(2_000);
  server.publish('room', 2);
  await settle();
  assert.equal(server.sockets().length, 1);
  assert.deepEqual(tabs.map(({ got }) => got), [[1, 2], [1, 2]]);
});

test('where locks are forbidden nothing is lost', async () => {
  locks.forbidden = true;
  const tabs = [await openRt('a'), await openRt('b'), await openRen('c'), await openRen('d')];
  server.publish('room', 1);
  await pass(10_000);
  server.publish('room', 2);
  await settle();
  assert.deepEqual(tabs.map(({ got }) => got), [[1, 2], [1, 2], [1, 2], [1, 2]]);
});

test('channels: what is no JSON is reported to all, and harms nobody', async () => {
  const tabs = [await openRt('a'), await openRt('b')];
  const socket = server.sockets()[0]!;
  socket.in(() => socket.onmessage!({ data: '{oops' }));
  server.publish('room', 1);
  await settle();
  assert.deepEqual(tabs.map(({ got, errors }) => [got, errors]), [[[1], ['bad_json']], [[1], ['bad_json']]]);
});

test('channels: a lead that ends does not speak for those who have gone', async () => {
  const tabs = [await openRt('a'), await openRt('b')];
  tabs[1]!.tab.run(() => void tabs[1]!.rt.presence('room').join('bob'));
  await settle();
  await tabs[1]!.tab.kill();
  await pass(1_000);
  tabs[0]!.tab.run(() => tabs[0]!.rt.disconnect());
  await pass(5_000);
  assert.deepEqual(server.presence, ['join client-of-tab-b room bob']);
});

test('channels: two users of one browser do not share', async () => {
  server.user = 'ada';
  await openRt('a');
  server.user = 'eve';
  await openRt('b');
  assert.equal(server.sockets().length, 2);
});

for (const first of [7, 77, 777]) test(`tabs come and go as they like: nobody misses anything, or gets it twice (${first})`, async () => {
  let seed = first;
  const random = (n: number): number => (seed = (seed * 48271) % 0x7fffffff) % n;
  const rens: [RenTab, number][] = [];
  const rts: [RtTab, number][] = [];
  for (let step = 0; step < 150; step++) {
    const what = random(10);
    if (what < 5) server.publish('room', server.head + 1);
    else if (what === 5) server.ping();
    else if (what === 6 && rens.length < 5) rens.push([await openRen('n' + step), server.head]);
    else if (what === 7 && rts.length < 5) rts.push([await openRt('n' + step), server.head]);
    else if (what === 8 && rens.length > 1) await rens.splice(random(rens.length), 1)[0]![0].tab.kill();
    else if (what === 9 && rts.length > 1) await rts.splice(random(rts.length), 1)[0]![0].tab.kill();
    if (random(2)) await pass(20);
  }
  await pass(9_000);
  for (let i = 0; i < 3; i++) {
    server.ping(); // by which those who had to go alone come back
    await pass(250);
  }
  for (const [{ got }, from] of [...rens, ...rts]) assert.deepEqual(got, count(from + 1, server.head));
  assert.deepEqual([server.streams().length, server.sockets().length], [1, 1]);
});

test('REN: a tab that comes later takes none of the beats of before for a late one', async () => {
  const warned: unknown[] = [];
  mock.method(console, 'warn', (...what: unknown[]) => void warned.push(what.join(' ')));
  const beat = (): void => {
    for (const request of server.streams()) void request.send(`event: ren.ping\nid: e.${server.head}\ndata: ${JSON.stringify({ ts: clock.now })}\n\n`);
  };
  const first = await openRen('a');
  const second = await openRen('b');
  server.publish('x', 1);
  await settle();
  second.tab.run(() => second.tab.page.fire('pagehide'));
  for (let n = 0; n < 3; n++) {
    await pass(25_000);
    server.publish('x', n);
    beat();
  }
  await settle();
  second.tab.run(() => second.tab.page.fire('pageshow'));
  await pass(1000);
  server.publish('x', 2);
  await pass(24_000);
  beat();
  await pass(25_000);
  beat();
  await settle();
  assert.deepEqual([first.got, second.got, warned], [[1, 0, 1, 2, 2], [1, 0, 1, 2, 2], []]);
});
