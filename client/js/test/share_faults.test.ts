// What goes wrong between tabs that share a connection, and between them and the server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RealtimeClient } from '../src/realtime.js';
import { shareTabs } from '../src/share.js';
import { layer } from '../src/transport.js';
import { FakeSocket, pass, requests, settle } from './fakes.js';
import { all, count, direct, opened, openRen, openRt, server, type RtTab } from './tabkit.js';
import { locks, mute, Tab } from './tabs.js';

/** Has a connection refuse further channels, as one that has reached its limit; `full` is the one that is refused. */
function fill(socket: FakeSocket): void {
  const serve = FakeSocket.serve!;
  FakeSocket.serve = (to, op) => {
    if (to !== socket || op.op !== 'subscribe' || op.channel !== 'full') return serve(to, op);
    setImmediate(() => to.say({ event: 'error', ref: op.ref, code: 'channel_limit', message: '', retry: false }));
  };
}

test('channels: what a tab says while it takes the lead over waits for the connection', async () => {
  const [leader, next] = [await openRt('a'), await openRt('b')];
  const connect = FakeSocket.opened!;
  const waiting: FakeSocket[] = [];
  FakeSocket.opened = (socket) => void waiting.push(socket);
  await leader.tab.kill();
  await settle();
  const ends: string[] = [];
  const heard: unknown[] = [];
  next.tab.run(() => {
    next.rt.publish('room', 'mine').then(() => ends.push('ok'), (e: unknown) => ends.push(String(e)));
    next.rt.subscribe('other', ({ data }) => void heard.push(data));
  });
  await settle();
  assert.equal(waiting.length, 1);
  FakeSocket.opened = connect;
  waiting.forEach(connect);
  await pass(1000);
  server.publish('other', 1);
  await settle();
  assert.deepEqual([ends, next.got, heard], [['ok'], ['mine'], [1]]);
});

for (const name of ['follows', 'leads']) test(`channels: a tab that ${name} and goes alone says nothing before it is greeted`, async () => {
  const tabs = [await openRt('a'), await openRt('b')];
  const other = tabs[name === 'leads' ? 0 : 1]!;
  fill(server.sockets()[0]!);
  const connect = FakeSocket.opened!;
  const waiting: FakeSocket[] = [];
  FakeSocket.opened = (socket) => void waiting.push(socket);
  other.tab.run(() => other.rt.subscribe('full', () => {}));
  await settle();
  assert.equal(waiting.filter(({ tab }) => tab === other.tab).length, 1);
  const ends: string[] = [];
  other.tab.run(() => other.rt.publish('room', 'mine').then(() => ends.push('ok'), (e: unknown) => ends.push(String(e))));
  FakeSocket.opened = connect;
  waiting.forEach(connect);
  await pass(1000);
  const own = waiting.find(({ tab }) => tab === other.tab)!;
  assert.deepEqual(own.sent.map(({ op }) => op), ['hello', 'subscribe', 'subscribe', 'publish']);
  assert.deepEqual([ends, other.got], [['ok'], ['mine']]);
});

test('channels: an old lead does not speak on the connection that came after it', async () => {
  const a = await openRt('a');
  const b = await openRt('b', {}, ['other']);
  fill(server.sockets()[0]!);
  a.tab.run(() => a.rt.subscribe('full', () => {}));
  await pass(500);
  assert.equal(server.sockets().length, 2);
  const own = server.sockets().find(({ tab }) => tab === a.tab)!;
  a.tab.run(() => a.rt.subscribe('other', ({ data }) => void a.got.push(data)));
  await settle();
  await b.tab.kill();
  await pass(4000);
  server.publish('other', 1);
  await settle();
  assert.deepEqual([own.ops('unsubscribe'), a.got], [[], [1]]);
});

test('channels: who goes alone is no longer subscribed or present by the lead', async () => {
  await openRt('a');
  const b = await openRt('b', {}, ['mine']);
  b.tab.run(() => void b.rt.presence('mine').join('bob'));
  await settle();
  const socket = server.sockets()[0]!;
  fill(socket);
  b.tab.run(() => b.rt.subscribe('full', () => {}));
  await pass(5000);
  assert.equal(server.sockets().length, 2);
  assert.deepEqual([socket.ops('unsubscribe').map(({ channel }) => channel), socket.ops('leave').map((op) => op['userId'])], [['mine'], ['bob']]);
});

test('channels: a page that comes back is told of what came while nobody was subscribed', async () => {
  const a = await openRt('a');
  const b = await openRt('b', {}, ['other']);
  server.ping();
  await settle();
  b.tab.run(() => b.tab.page.fire('pagehide'));
  await settle();
  server.publish('other', 1);
  await settle();
  a.tab.run(() => a.rt.subscribe('other', () => {}));
  await settle();
  server.publish('other', 2);
  await settle();
  b.tab.run(() => b.tab.page.fire('pageshow'));
  await pass(1000);
  assert.deepEqual(b.got, [1, 2]);
});

for (const name of ['a', 'b']) test(`channels: who hangs up at what comes before its refusal stays closed (${name})`, async () => {
  const tabs = { a: await openRt('a'), b: await openRt('b') };
  const { tab, rt } = tabs[name as 'a'];
  const [socket] = server.sockets();
  const serve = FakeSocket.serve!;
  FakeSocket.serve = (to, op) => {
    if (op.channel !== 'full') return serve(to, op);
    to.say({ event: 'message', channel: 'room', data: 1, id: 'e.0' }, { event: 'error', ref: op.ref, code: 'channel_limit', message: '', retry: false });
  };
  tab.run(() => rt.subscribe('room', () => rt.disconnect()));
  await settle();
  tab.run(() => rt.subscribe('full', () => {}));
  await pass(1000);
  const made = FakeSocket.all.filter((one) => one !== socket && one.closed === undefined);
  assert.deepEqual([rt.state, made.filter((one) => one.tab === tab)], ['closed', []]);
});

test('channels: a tab that takes the lead over as another user does not lead those of the one before', async () => {
  server.user = 'ada';
  const [a, b, c] = [await openRt('a'), await openRt('b'), await openRt('c')];
  server.user = 'eve';
  await a.tab.kill();
  await pass(250);
  assert.deepEqual([b.rt.state, c.rt.state, server.sockets().length], ['connecting', 'connecting', 0]);
  await pass(1000);
  server.publish('room', 1);
  await settle();
  assert.deepEqual([b.got, c.got, server.sockets().length], [[1], [1], 1]);
});

test('where locks are forbidden nobody waits for others', async () => {
  locks.forbidden = true;
  const tabs = [await openRen('a', {}, false), await openRen('b', {}, false)];
  await settle();
  await settle();
  assert.deepEqual([tabs.map(({ ren }) => ren.state), server.streams().length], [['open', 'open'], 2]);
  const channels = [await openRt('c'), await openRt('d')];
  await pass(10_000);
  assert.deepEqual([channels.map(({ rt }) => rt.state), server.sockets().length, FakeSocket.all.length], [['open', 'open'], 2, 2]);
});

for (const [name, fail] of [
  ['locks are never granted', () => (locks.silent = true)],
  ['nothing is delivered between tabs', mute],
  ['neither works', () => (locks.silent = true) && mute()],
] as const) test(`where ${name} each tab has its own connections after five seconds`, async () => {
  fail();
  const tabs = [await openRen('a', {}, false), await openRen('b', {}, false), await openRt('c'), await openRt('d')];
  await pass(5_100);
  assert.deepEqual(tabs.map((one) => ('ren' in one ? one.ren : one.rt).state), Array(4).fill('open'));
  assert.deepEqual([server.streams().length, server.sockets().length], [2, 2]);
  const made = [requests.length, FakeSocket.all.length];
  for (let n = 1; n <= 20; n++) {
    server.publish('room', n);
    server.ping();
    await pass(3_000);
  }
  for (const { got } of tabs) assert.deepEqual(got, count(1, 20));
  assert.deepEqual([requests.length, FakeSocket.all.length], made, 'and keeps them');
});

test('where the locks of groups alone are never granted, it takes twice as long', async () => {
  locks.silent = 'groups';
  const tabs = [await openRen('a', {}, false), await openRt('b')];
  await pass(10_000);
  assert.deepEqual(tabs.map((one) => ('ren' in one ? one.ren : one.rt).state), ['open', 'open']);
  server.publish('room', 1);
  await settle();
  assert.deepEqual(tabs.map(({ got }) => got), [[1], [1]]);
});

test('a lock that is granted after all is let go', async () => {
  const request = locks.request.bind(locks);
  const late: (() => void)[] = [];
  locks.request = (...args) => new Promise((done) => late.push(() => done(request(...args))));
  try {
    const tabs = [await openRen('a', {}, false), await openRt('b')];
    await pass(6_000);
    locks.request = request;
    for (const ask of late) ask();
    await pass(6_000);
    assert.deepEqual(locks.queue, []);
    server.publish('room', 1);
    await settle();
    assert.deepEqual(tabs.map(({ got }) => got), [[1], [1]]);
  } finally {
    locks.request = request;
  }
});

test('channels: what the server takes away all tabs are told, and can have again', async () => {
  const tabs = [await openRt('a'), await openRt('b')];
  const socket = server.sockets()[0]!;
  server.revoke('room');
  await settle();
  assert.deepEqual(tabs.map(({ errors }) => errors), [['forbidden'], ['forbidden']]);
  const asked = socket.ops('subscribe').length;
  for (const { tab, rt } of tabs) tab.run(() => rt.subscribe('room', () => {}));
  await settle();
  assert.equal(socket.ops('subscribe').length, asked + 2);
  server.publish('room', 1);
  await settle();
  assert.deepEqual(tabs.map(({ got }) => got), [[1], [1]]);
});

test('channels: a tab that gets the lead while it waits for an answer does not take it from itself', async () => {
  const a = await openRt('a');
  a.tab.hang();
  const opening = openRt('c');
  await pass(1000);
  await a.tab.kill();
  const c = await opening;
  await pass(10_000);
  server.publish('room', 1);
  await settle();
  assert.deepEqual([c.got, server.sockets().length, FakeSocket.all.length], [[1], 1, 2]);
});

test('where channels between tabs are forbidden every tab has its own connection', async () => {
  Object.assign(layer, direct);
  const was = globalThis.BroadcastChannel;
  const forbidden = class {
    constructor() {
      throw new DOMException('The operation is insecure.', 'SecurityError');
    }
  };
  Object.assign(globalThis, { BroadcastChannel: forbidden });
  locks.forbidden = true;
  shareTabs();
  const tabs = [await openRen('a'), await openRen('b')];
  Object.assign(globalThis, { BroadcastChannel: was });
  assert.deepEqual([tabs.map(({ ren }) => ren.state), server.streams().length], [['open', 'open'], 2]);
});

for (const [thrown, ends] of [['UnknownError', false], ['SecurityError', true]] as const)
  test(`channels: a WebSocket that throws a ${thrown} is told once, and ${ends ? 'ends the client' : 'tried again'}`, async () => {
    let tries = 0;
    globalThis.WebSocket = class {
      constructor(url: string, protocol: string) {
        if (ends || tries++ < 2) throw new DOMException('not here', thrown);
        return new FakeSocket(url, protocol);
      }
    } as never;
    const tab = new Tab();
    const rt = tab.run(() => new RealtimeClient({ clientId: 'client-of-tab-x' }));
    const told: string[] = [];
    rt.onError(({ message }) => void told.push(message));
    all.push({ tab, close: () => rt.disconnect() });
    tab.run(() => rt.connect());
    await opened(() => rt.state);
    assert.deepEqual([told.length, rt.state, server.sockets().length], ends ? [1, 'closed', 0] : [1, 'open', 1]);
    assert.match(told[0]!, /not here/);
  });

test('channels: a shared connection that only says error is lost for all, and what fails later is nobody\'s', async () => {
  const tabs = [await openRt('a'), await openRt('b')];
  const first = server.sockets()[0]!;
  await first.fail();
  assert.deepEqual(tabs.map(({ rt }) => rt.state), ['connecting', 'connecting']);
  await pass(10_000);
  await first.fail();
  assert.deepEqual(tabs.map(({ rt }) => rt.state), ['open', 'open']);
  assert.equal(server.sockets().length, 1);
  server.publish('room', 1);
  await settle();
  assert.deepEqual(tabs.map(({ got }) => got), [[1], [1]]);
  for (const socket of FakeSocket.all) assert.ok(socket.onerror, 'each is listened to, the own one of a tab that follows too');
});

test('channels: a refused hello ends each tab that is refused', async () => {
  server.answers = false;
  const tab = new Tab();
  const rt = tab.run(() => new RealtimeClient({ clientId: 'ada' }));
  const told: unknown[] = [];
  rt.onError((error) => void told.push((error as { code?: string }).code));
  all.push({ tab, close: () => rt.disconnect() });
  tab.run(() => rt.connect());
  await settle();
  FakeSocket.last.say({ event: 'error', code: 'bad_request', message: 'no client id', retry: false });
  await settle();
  await assert.rejects(tab.run(() => rt.publish('room', 1)), { code: 'bad_request' });
  assert.deepEqual([told, rt.state, FakeSocket.last.closed], [['bad_request'], 'closed', 1000]);
});

test('channels: tabs renew the credentials of the connection they share, and the next one begins with the new ones', async () => {
  server.expiresIn = 60_000;
  let n = 0;
  const getToken = (): string => 'T' + ++n;
  const tabs = [await openRt('a', { shareTabs: 'x', getToken }), await openRt('b', { shareTabs: 'x', getToken })];
  const shared = server.sockets()[0]!;
  assert.equal(server.sockets().length, 1);
  for (let i = 0; i < 6; i++) {
    await pass(20_000);
    server.ping();
  }
  const renewed = shared.ops('hello').slice(1).map(({ token }) => token);
  assert.ok(renewed.length >= 4, `${renewed.length} renewals`);
  assert.deepEqual(tabs.map(({ rt, errors }) => [rt.state, errors]), [['open', []], ['open', []]]);
  await tabs[0]!.tab.kill();
  await pass(1_000);
  await opened(() => tabs[1]!.rt.state);
  const next = server.sockets()[0]!;
  assert.notEqual(next, shared);
  assert.ok(Number(String(next.ops('hello')[0]!['token']).slice(1)) > 2, `${next.ops('hello')[0]!['token']} is not the first`);
});

test('channels: a roster in parts reaches each tab whole', async () => {
  const tabs = [await openRt('a'), await openRt('b')];
  for (const { tab, rt } of tabs) tab.run(() => void rt.presence('room').onJoin(() => {}));
  await settle();
  const shared = server.sockets()[0]!;
  const part = (userId: string, more: object): object => ({ event: 'presence.state', channel: 'room', members: [{ userId, lastSeen: 1 }], ...more });
  shared.say(part('ada', { more: true }));
  shared.say(part('bob', { part: 1, more: true }), part('eve', { part: 2, cursor: 'e.0' }));
  await settle();
  for (const { rt } of tabs) assert.deepEqual(rt.presence('room').members().map(({ userId }) => userId), ['ada', 'bob', 'eve']);
});

/** A subscription, and what it has been told since. */
interface Sub {
  off: () => void;
  from: number;
  got: unknown[];
}

for (let first = 1; first <= 12; first++) test(`pages come, go and hide, and subscribe as they like: nobody misses anything, or gets it twice (${first})`, async () => {
  let seed = first * 7919;
  const random = (n: number): number => (seed = (seed * 48271) % 0x7fffffff) % n;
  const pages: { page: RtTab; subs: Map<string, Sub>; hidden: boolean }[] = [];
  for (let step = 0; step < 200; step++) {
    const what = random(12);
    const one = pages[random(Math.max(pages.length, 1))];
    const channel = ['c0', 'c1'][random(2)]!;
    const sub = one?.subs.get(channel);
    if (what < 4) server.publish(channel, server.head + 1);
    else if (what === 4) server.ping();
    else if (what === 5 && pages.length < 4) pages.push({ page: await openRt('n' + step, {}, []), subs: new Map(), hidden: false });
    else if (what === 11 && one && pages.length > 1) {
      pages.splice(pages.indexOf(one), 1);
      await one.page.tab.kill();
    } else if (what === 10 && one?.hidden) {
      one.hidden = false;
      one.page.tab.run(() => one.page.tab.page.fire('pageshow'));
      await pass(random(3) * 500);
    } else if (!one || one.hidden) continue;
    else if (what <= 7 && what > 5 && !sub) {
      const got: unknown[] = [];
      const off = one.page.tab.run(() => one.page.rt.subscribe(channel, ({ data }) => void got.push(data)));
      await pass(1500);
      one.subs.set(channel, { off, got, from: server.head });
    } else if (what === 8 && sub) {
      one.page.tab.run(sub.off);
      one.subs.delete(channel);
    } else if (what === 9) {
      one.hidden = true;
      one.page.tab.run(() => one.page.tab.page.fire('pagehide'));
    }
    if (random(2)) await pass(20);
  }
  for (const { page, hidden } of pages) if (hidden) page.tab.run(() => page.tab.page.fire('pageshow'));
  await pass(20_000);
  for (const { subs } of pages)
    for (const [channel, { got, from }] of subs)
      assert.deepEqual(got, server.log.filter((entry) => entry.channel === channel && entry.seq > from).map(({ data }) => data));
});
