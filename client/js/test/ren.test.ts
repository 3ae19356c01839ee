import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { renFetch } from '../src/http.js';
import { RenClient, type RenClientOptions, type RenReset } from '../src/ren.js';
import type { RenEvent } from '../src/renevent.js';
import { layer } from '../src/transport.js';
import { begin, clock, dice, pass, requests, serveFetch, settle, type FakePage, type FakeRequest } from './fakes.js';

const clientId = 'browserbrowser.tab1';
let page: FakePage;
let ren: RenClient;
let events: RenEvent[], resets: RenReset[], states: string[], errors: Error[];
let reported: unknown[]; // what listeners have thrown

beforeEach(() => {
  page = begin();
  dice(0.5);
  [events, resets, states, errors, reported] = [[], [], [], [], []];
  mock.method(console, 'error', (e: unknown) => void reported.push(e));
});

afterEach(() => {
  ren?.close();
  mock.restoreAll();
  assert.deepEqual(reported, []);
});

async function open(options: RenClientOptions = {}): Promise<FakeRequest> {
  ren = new RenClient({ clientId, ...options });
  ren.on((event) => void events.push(event));
  ren.onReset((reset) => void resets.push(reset));
  ren.onState((state) => void states.push(state));
  ren.onError((error) => void errors.push(error));
  await settle();
  return last();
}

const last = (): FakeRequest => requests.at(-1)!;
const frame = (event: string, cursor: string, more: object = {}): string =>
  `event: ${event}\nid: ${cursor}\ndata: ${JSON.stringify({ cursor, ...more })}\n\n`;
const hello = (more: object = {}, cursor = 'c0'): string => frame('ren.hello', cursor, { state: 'fresh', src: 'MYTAG', ...more });
const data = (event: object, cursor = 'c1'): string => `id: ${cursor}\ndata: ${JSON.stringify({ t: 'kv.put', r: 'kv', ...event })}\n\n`;

test('the first request', async () => {
  const request = await open();
  assert.equal(request.url.href, 'https://app.example/api/maravilla/ren');
  assert.equal(request.headers.get('X-Ren-Client'), clientId);
  assert.equal(request.headers.get('Last-Event-ID'), null);
  assert.equal(request.headers.get('Authorization'), null);
  assert.equal(request.headers.get('Accept'), 'text/event-stream');
  assert.deepEqual([request.init.credentials, request.init.cache, request.init.redirect], ['include', 'no-store', 'manual']);
  assert.equal(ren.state, 'connecting');
  assert.equal(ren.getClientId(), clientId);
});

test('domains, token and a foreign origin', async () => {
  const request = await open({ endpoint: 'https://other.example/ren', subscriptions: ['kv', 'db'], getToken: async () => 'T' });
  assert.equal(request.url.searchParams.get('s'), 'kv,db');
  assert.equal(request.headers.get('Authorization'), 'Bearer T');
  assert.equal(request.init.credentials, 'include');
});

test('events come, the own ones marked with the own id', async () => {
  const request = await open();
  await request.stream(hello() + data({ k: 'a', src: 'MYTAG' }) + data({ k: 'b', src: 'OTHER' }) + data({ k: 'c' }));
  assert.deepEqual(events.map(({ k, src }) => [k, src]), [['a', clientId], ['b', 'OTHER'], ['c', undefined]]);
  assert.deepEqual([states, resets, errors], [['open'], [], []]);
});

test('all domains are none to be named', async () => {
  for (const subscriptions of [[], ['*'], ['kv', '*']]) {
    assert.equal((await open({ subscriptions })).url.search, '');
    ren.close();
  }
});

test('without a tag no event is the own', async () => {
  await (await open()).stream(hello({ src: undefined }) + data({ k: 'a' }) + data({ k: 'b', src: 'OTHER' }));
  assert.deepEqual(events.map(({ src }) => src), [undefined, 'OTHER']);
});

test('a listener that is gone hears nothing', async () => {
  const request = await open();
  const heard: RenEvent[] = [];
  const off = ren.on((event) => void heard.push(event));
  await request.stream(hello() + data({}));
  off();
  await request.send(data({}));
  assert.equal(heard.length, 1);
  assert.equal(events.length, 2);
});

test('a cut stream goes on after the last id, of whatever event', async () => {
  await (await open()).stream(hello() + data({}, 'c7'));
  await last().cut();
  assert.equal(ren.state, 'connecting');
  await pass(1000);
  assert.equal(requests.length, 2);
  assert.equal(last().headers.get('Last-Event-ID'), 'c7');
  await last().stream(hello({ state: 'resumed' }, 'c7') + frame('ren.ping', 'c9', { ts: 1 }));
  await last().end();
  await pass(2000);
  assert.equal(last().headers.get('Last-Event-ID'), 'c9');
  assert.deepEqual(states, ['open', 'connecting', 'open', 'connecting']);
  assert.deepEqual(resets, []);
});

test('an event without an id keeps the cursor', async () => {
  await (await open()).stream(hello() + data({}, 'c3'));
  await last().cut();
  await pass(1000);
  await last().stream('data: {}\n\n');
  await last().cut();
  await pass(2000);
  assert.equal(last().headers.get('Last-Event-ID'), 'c3');
});

test('resets are told, at the hello and in between', async () => {
  const given: RenReset[] = [];
  const request = await open({ onReset: (reset) => void given.push(reset) });
  await request.stream(hello({ state: 'reset', reason: 'evicted' }) + frame('ren.reset', 'c2', { reason: 'backend' }));
  assert.deepEqual(resets, [{ reason: 'evicted' }, { reason: 'backend' }]);
  assert.deepEqual(given, resets);
  assert.deepEqual(events, []);
});

for (const [name, refuse] of [
  ['204', (r: FakeRequest) => r.answer(204)],
  ['200 with HTML', (r: FakeRequest) => r.answer(200, { 'Content-Type': 'text/html' }, '<p>Welcome')],
  ['404', (r: FakeRequest) => r.answer(404)],
  ['429', (r: FakeRequest) => r.answer(429)],
  ['500', (r: FakeRequest) => r.answer(500)],
  ['502', (r: FakeRequest) => r.answer(502, { 'Content-Type': 'text/html' }, '<p>Bad gateway')],
  ['503', (r: FakeRequest) => r.answer(503)],
  ['no network', (r: FakeRequest) => r.fail()],
] as const) {
  test(name + ' is survived', async () => {
    await refuse(await open());
    assert.equal(ren.state, 'connecting');
    await pass(1000);
    assert.equal(requests.length, 2);
    await last().stream(hello());
    assert.equal(ren.state, 'open');
    assert.deepEqual(errors, []);
  });
}

for (const status of [400, 401, 403, 405]) {
  test(status + ' ends the client', async () => {
    const body = JSON.stringify({ code: 'forbidden', message: 'no', retry: false });
    await (await open()).answer(status, {}, body);
    await pass(60_000);
    assert.equal(requests.length, 1);
    assert.equal(ren.state, 'closed');
    assert.deepEqual(errors.map((e) => [e.name, (e as never)['code'], e.message]), [['RealtimeError', 'forbidden', 'no']]);
  });
}

for (const value of ['Fri, 31 Dec 2027 23:59:59 GMT', '-30', '']) test(`a Retry-After of '${value}' is none`, async () => {
  dice(0);
  await (await open()).answer(503, { 'Retry-After': value });
  await pass(499);
  assert.equal(requests.length, 1);
  await pass(1);
  assert.equal(requests.length, 2);
});

test('after a bye the client comes back when told to', async () => {
  await (await open()).stream(hello() + frame('ren.bye', 'c5', { reason: 'rotate', retryMs: 3000 }));
  assert.ok(last().aborted);
  await pass(2999);
  assert.equal(requests.length, 1);
  await pass(1);
  assert.equal(last().headers.get('Last-Event-ID'), 'c5');
});

test('after revocation it does not', async () => {
  await (await open()).stream(hello() + frame('ren.bye', 'c5', { reason: 'revoked', retryMs: 1 }) + data({}));
  await pass(60_000);
  assert.deepEqual([requests.length, ren.state, errors.length, events.length], [1, 'closed', 1, 0]);
});

test('sixty silent seconds end a stream', async () => {
  await (await open()).stream(hello());
  await pass(40_000);
  await last().send(': beat\n\n');
  await pass(59_000);
  assert.equal(requests.length, 1);
  await pass(2000);
  assert.ok(requests[0]!.aborted);
  assert.equal(requests.length, 2);
});

test('a request without an answer is given up, too', async () => {
  await open();
  await pass(62_000);
  assert.ok(requests[0]!.aborted);
  assert.equal(requests.length, 2);
});

test('a silent stream is found when the page wakes', async () => {
  await (await open()).stream(hello());
  page.look('hidden');
  clock.sleep(61_000);
  page.look('visible');
  await settle();
  assert.ok(requests[0]!.aborted);
  assert.equal(requests.length, 2);
});

test('a machine that has slept with its page in view is noticed soon', async () => {
  await (await open()).stream(hello());
  await pass(11_000);
  clock.sleep(61_000);
  await pass(9999);
  assert.ok(requests[0]!.aborted);
});

test('a page that is looked at again, or is online again, does not wait for a beat that is late', async () => {
  await (await open()).stream(hello());
  await pass(29_999);
  page.fire('online');
  assert.equal(requests.length, 1);
  await pass(1);
  page.look('visible');
  await settle();
  assert.equal(requests.length, 2);
});

test('a page that is frozen has no stream, and one with its cursor when it goes on', async () => {
  await (await open()).stream(hello() + data({}, 'c3'));
  page.life('freeze');
  assert.ok(last().aborted);
  clock.sleep(100_000);
  page.life('resume');
  await settle();
  assert.equal(last().headers.get('Last-Event-ID'), 'c3');
});

test('a proxy that buffers is named in the console, once', async () => {
  const warned: unknown[] = [];
  mock.method(console, 'warn', (...what: unknown[]) => void warned.push(what.join(' ')));
  const request = await open();
  await request.stream();
  await pass(9999);
  assert.deepEqual(warned, []);
  await pass(60_000);
  assert.deepEqual(warned, ['[ren] late: proxy?']);
});

test('a proxy that lets beats through in bursts is named, too', async () => {
  const warned: unknown[] = [];
  mock.method(console, 'warn', (...what: unknown[]) => void warned.push(what.join(' ')));
  const slow = 3_600_000; // is the server's clock
  const beat = (held = 0): string => frame('ren.ping', 'c1', { ts: clock.now - slow - held });
  await (await open()).stream(hello());
  for (const held of [0, 3000, 0, 1000]) {
    await pass(25_000);
    await last().send(beat(held)); // as a network may be
  }
  await last().send(hello({ state: 'resumed' }) + data({ ts: 1 }) + data({ ts: clock.now }));
  assert.deepEqual(warned, []);
  for (let i = 0; i < 3; i++) {
    await pass(50_000);
    await last().send(beat(25_000) + beat());
  }
  assert.deepEqual(warned, ['[ren] late: proxy?']);
});

test('an answer that is no stream is named in the console, once', async () => {
  const warned: unknown[] = [];
  mock.method(console, 'warn', (...what: unknown[]) => void warned.push(what.join(' ')));
  for (const status of [200, 404]) {
    await (await open({ maxBackoffMs: 500 })).answer(503);
    await pass(1000);
    assert.deepEqual(warned, []);
    for (let n = 0; n < 2; n++) {
      await last().answer(status, { 'Content-Type': 'text/html' }, '<p>Welcome');
      await pass(1000);
    }
    assert.deepEqual(warned.splice(0), [`[ren] HTTP ${status}`]);
    ren.close();
  }
});

test('waking ends a wait, and leaves a live stream alone', async () => {
  await (await open()).fail();
  page.look('hidden');
  await settle();
  assert.equal(requests.length, 1);
  page.fire('online');
  await settle();
  assert.equal(requests.length, 2);
  await last().stream(hello());
  page.fire('online');
  page.look('hidden');
  page.look('visible');
  await pass(20_000);
  assert.equal(requests.length, 2);
});

test('a backoff of 0 is no storm', async () => {
  serveFetch.with = (request) => void request.fail();
  await open({ maxBackoffMs: 0 });
  await pass(1000);
  assert.ok(requests.length < 5, `${requests.length} requests in a second`);
});

test('a backoff that is no number is the default', async () => {
  dice(1);
  serveFetch.with = (request) => void request.fail();
  await open({ maxBackoffMs: NaN });
  await pass(999 + 1_500 + 2_250);
  assert.equal(requests.length, 3);
  await pass(1);
  assert.equal(requests.length, 4);
});

test('a page that goes into the cache has no stream, and one with its cursor when it is back', async () => {
  await (await open()).stream(hello() + data({}, 'c3'));
  page.fire('pagehide');
  assert.ok(last().aborted);
  page.look('visible');
  page.fire('online');
  await pass(120_000);
  page.fire('online');
  await settle();
  assert.equal(requests.length, 1);
  page.fire('pageshow');
  await settle();
  assert.equal(last().headers.get('Last-Event-ID'), 'c3');
  page.fire('pageshow');
  await settle();
  assert.equal(requests.length, 2);
});

test('close ends it for good, from within a listener too', async () => {
  const request = await open();
  const off = ren.on(() => ren.close());
  await request.stream(hello() + data({}) + data({}));
  off();
  assert.equal(events.length, 1);
  page.fire('online');
  page.fire('pageshow');
  await pass(60_000);
  assert.deepEqual([requests.length, ren.state, request.aborted], [1, 'closed', true]);
});

test('without autoReconnect a lost stream is the end', async () => {
  await (await open({ autoReconnect: false })).stream(hello());
  await last().cut();
  await pass(60_000);
  assert.deepEqual([requests.length, ren.state], [1, 'closed']);
});

test('a listener that throws harms nobody', async () => {
  ren = new RenClient({ clientId });
  ren.on(() => {
    throw new Error('mine');
  });
  ren.on((event) => void events.push(event));
  await settle();
  await last().stream(hello() + data({}) + data({}));
  assert.equal(events.length, 2);
  assert.equal(reported.splice(0).length, 2);
  assert.equal(ren.state, 'open');
});

test('an event that is no JSON is reported, and the next one comes', async () => {
  await (await open()).stream(hello() + 'data: {oops\n\n' + data({}));
  assert.equal((errors[0] as never)['code'], 'bad_json');
  assert.equal(events.length, 1);
});

test('unknown events and members are ignored', async () => {
  await (await open()).stream(hello() + frame('ren.news', 'c1', {}) + data({ z: 1 }));
  assert.deepEqual([errors, events.length], [[], 1]);
});

test('a stream begins after the oldest cursor of what was fetched before it', async () => {
  const fetched = [renFetch('/a'), renFetch('/b'), renFetch('https://other.example/c'), renFetch('/d')];
  assert.ok(requests[0]!.headers.get('X-Ren-Client'));
  assert.equal(requests[2]!.headers.get('X-Ren-Client'), null);
  await requests[2]!.answer(200, { 'X-Ren-Cursor': 'foreign' });
  await requests[1]!.answer(200, { 'X-Ren-Cursor': 'later' });
  await requests[0]!.answer(200, { 'X-Ren-Cursor': 'older' }); // slow, but asked first
  await requests[3]!.answer(200, { 'X-Ren-Cursor': 'latest' });
  await Promise.all(fetched);
  const request = await open();
  assert.equal(request.headers.get('Last-Event-ID'), 'older');
  await request.answer(503);
  await pass(1000);
  assert.equal(last().headers.get('Last-Event-ID'), 'older', 'kept until a hello');
  await last().stream(hello({ state: 'resumed' }));
  ren.close();
  assert.equal((await open()).headers.get('Last-Event-ID'), null);
});

test('a time is told with the first cursor only', async () => {
  const fetched = renFetch('/a');
  await requests[0]!.answer(200, { 'X-Ren-Cursor': 'older' });
  await fetched;
  const asked = clock.now;
  const times: unknown[] = [];
  layer.stream = (inner) => (...call) => (times.push(call[5]), inner(...call));
  await pass(5000);
  await open();
  delete layer.stream;
  await last().answer(503);
  await pass(1000);
  await last().stream(hello({ state: 'resumed' }));
  await last().cut();
  await pass(2000);
  assert.deepEqual(times, [asked, asked, undefined]);
});

test('a client keeps the cursor it was made with, whatever other clients do', async () => {
  const fetched = renFetch('/a');
  await requests[0]!.answer(200, { 'X-Ren-Cursor': 'older' });
  await fetched;
  let give = (_token: string): void => {};
  await open({ getToken: () => new Promise<string>((done) => (give = done)) });
  const other = new RenClient({ clientId });
  await settle();
  await last().stream(hello({ state: 'resumed' }));
  give('T');
  await settle();
  assert.equal(last().headers.get('Last-Event-ID'), 'older');
  other.close();
});

test('a token that cannot be had is reported, and asked for again', async () => {
  let n = 0;
  await open({ getToken: () => (n++ ? 'T' : Promise.reject(new Error('no session'))) });
  assert.deepEqual([errors.map((e) => e.message), requests.length], [['no session'], 0]);
  await pass(2000);
  assert.equal(last().headers.get('Authorization'), 'Bearer T');
});

test('a clock set back does not hide a silent stream', async () => {
  await (await open()).stream(hello());
  clock.sleep(-3_600_000);
  await pass(122_000);
  assert.ok(requests[0]!.aborted);
});

test('a foreign <base> does not learn the client id', async () => {
  Object.assign(page.document, { baseURI: 'https://cdn.example/assets/' });
  void renFetch('/todos');
  assert.equal(requests[0]!.headers.get('X-Ren-Client'), null);
  void renFetch('https://app.example/todos');
  assert.ok(requests[1]!.headers.get('X-Ren-Client'));
  assert.equal((await open()).url.href, 'https://app.example/api/maravilla/ren');
});
