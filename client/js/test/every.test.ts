// Of what changes often, only the newest.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import '../src/every.js';
import '../src/history.js';
import { enableLoad } from '../src/load.js';
import { RealtimeClient } from '../src/realtime.js';
import { RenClient, type RenClientOptions } from '../src/ren.js';
import { shareTabs } from '../src/share.js';
import { layer } from '../src/transport.js';
import { begin, clock, dice, FakeSocket, pass, requests, settle } from './fakes.js';

enableLoad();

let rt: RealtimeClient;

beforeEach(() => {
  begin();
  dice(0.5);
});

afterEach(async () => {
  rt?.disconnect();
  await settle();
  mock.restoreAll();
});

async function asked(options: RenClientOptions): Promise<string> {
  const ren = new RenClient({ clientId: 'browserbrowser.tab1', ...options });
  await settle();
  ren.close();
  return requests.at(-1)!.url.search;
}

test('RenClient: the address says it, on each attempt, once', async () => {
  assert.equal(await asked({ every: 200 }), '?every=200');
  assert.equal(await asked({ every: 200, subscriptions: ['kv'], endpoint: '/ren?x=1' }), '?x=1&s=kv&every=200');
  assert.equal(await asked({}), '');
  const ren = new RenClient({ clientId: 'browserbrowser.tab1', every: 500 });
  await settle();
  await requests.at(-1)!.fail();
  await pass(2000);
  assert.equal(requests.at(-1)!.url.search, '?every=500');
  ren.close();
});

test('RenClient: what the server refuses of it ends the client, and is told', async () => {
  const told: unknown[] = [];
  const ren = new RenClient({ clientId: 'browserbrowser.tab1', every: 1e9, onError: (error) => void told.push((error as { code?: string }).code) });
  await settle();
  await requests.at(-1)!.answer(400, { 'Content-Type': 'application/json' }, '{"code":"bad_request","message":"every","retry":false}');
  assert.deepEqual([told, ren.state], [['bad_request'], 'closed']);
});

let n = 0;
const message = (type: string, data: object = {}, more: object = {}): object =>
  ({ event: 'message', channel: 'room', data: { type, ...data }, ts: 1, id: 'm' + ++n, userId: 'ada', ...more });

async function connect(): Promise<FakeSocket> {
  rt = new RealtimeClient({ clientId: 'browserbrowser.tab1' });
  rt.connect();
  await settle();
  await FakeSocket.last.greet();
  return FakeSocket.last;
}

test('a listener is told the first message of a key at once, and then the newest of each interval', async () => {
  const socket = await connect();
  const got: unknown[] = [];
  const every: unknown[] = [];
  rt.subscribe('room', ({ data }) => void got.push(data), { every: 200 });
  rt.subscribe('room', ({ data }) => void every.push(data));
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c' });
  for (let v = 1; v <= 5; v++) socket.say(message('price', { v }), message('bid', { v }));
  socket.say(message('price', { v: 'eve' }, { userId: 'eve' }));
  const of = (type: string, v: unknown): object => ({ type, v });
  assert.deepEqual(got.splice(0), [of('price', 1), of('bid', 1), of('price', 'eve')]);
  await pass(199);
  assert.deepEqual(got, []);
  await pass(1);
  assert.deepEqual(got.splice(0), [of('price', 5), of('bid', 5)]);
  socket.say(message('price', { v: 6 }));
  assert.deepEqual(got, [], 'it is in the interval of the one before');
  await pass(200);
  assert.deepEqual(got.splice(0), [of('price', 6)]);
  await pass(1000);
  socket.say(message('price', { v: 7 }));
  assert.deepEqual(got, [of('price', 7)], 'after a pause at once');
  assert.equal(every.length, 13, 'others hear all');
});

test('with a key of its own, and no more once it has stopped', async () => {
  const socket = await connect();
  const got: unknown[] = [];
  const off = rt.subscribe('room', ({ id }) => void got.push(id), { every: 200, key: ({ data }) => (data as { k?: string }).k });
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c' });
  const { timers } = clock;
  n = 0;
  for (const k of ['a', 'b', 'a', 'b', undefined]) socket.say(message('x', { k }));
  assert.deepEqual(got, ['m1', 'm2', 'm5']);
  off();
  assert.equal(clock.timers, timers);
  await pass(1000);
  assert.deepEqual(got, ['m1', 'm2', 'm5']);
});

test('messages that are loaded or rewound are not left out', async () => {
  const socket = await connect();
  const got: unknown[] = [];
  n = 0;
  rt.subscribe('room', ({ id }) => void got.push(id), { every: 200, rewind: 3 });
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c' });
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed', messages: [message('x'), message('x'), message('x')], end: 'start' });
  assert.deepEqual(got, ['m1', 'm2', 'm3']);
  for (let i = 0; i < 3; i++) socket.say(message('x'));
  await pass(200);
  assert.deepEqual(got, ['m1', 'm2', 'm3', 'm4', 'm6']);
  rt.subscribe('room', ({ id }) => void got.push(String(id)), { every: 200, load: () => void got.push('load') });
  got.length = 0;
  await pass(300);
  for (let i = 0; i < 3; i++) socket.say(message('x'));
  await pass(300);
  assert.deepEqual(got, ['load', 'm7', 'm7', 'm9', 'm9']);
});

test('with shared tabs the interval decides with whom', async () => {
  Object.assign(globalThis, { isSecureContext: true });
  const names: unknown[] = [];
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { locks: { request: async (name: string, _: unknown, cb: () => unknown) => (names.push(name), cb()) } } });
  const { stream } = layer;
  shareTabs();
  shareTabs(); // once more changes nothing
  for (const every of [undefined, 200]) {
    const ren = new RenClient({ clientId: 'browserbrowser.tab1', every });
    await settle();
    await requests.at(-1)!.stream('event: ren.hello\nid: c\ndata: {"state":"fresh","domains":["*"]}\n\n');
    ren.close();
    await settle();
  }
  Object.assign(layer, { stream, socket: undefined });
  const groups = names.filter((name) => String(name).startsWith('['));
  assert.equal(new Set(groups).size, 2);
  assert.ok(String(groups.at(-1)).includes('every=200'));
});
