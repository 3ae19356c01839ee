// What cannot work, or not now, is told once: addresses, tokens and sockets that are none.
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { RenClient, type RenClientOptions } from '../src/ren.js';
import { realtimeEnd, renEnd } from './ends.js';
import { clock, FakeSocket, pass, requests, settle } from './fakes.js';
import { ask, clientId, codes, note, page, realtime, ren, settled, told } from './refusalkit.js';

for (const [name, options] of Object.entries<RenClientOptions>({
  'an endpoint with a user': { endpoint: 'https://ada:secret@app.example/ren' },
  'an endpoint with a password alone': { endpoint: 'https://:secret@app.example/ren' },
  'an endpoint of another scheme': { endpoint: 'ftp://app.example/ren' },
  'a client id that no header can carry': { clientId: 'browserbrowser\ntab1' },
  'a client id of other letters': { clientId: 'браузербраузер.таб' },
}))
  test(`RenClient: ${name} is told, once, and ends it`, async () => {
    const client = await ren(options);
    await pass(60_000);
    assert.deepEqual([codes(), client.state, requests.length], [['bad_request'], 'closed', 0]);
  });

for (const [name, getToken] of Object.entries<() => never>({
  'with a line break': () => 'a\nb' as never,
  'with a carriage return': () => 'a\rb' as never,
  'of other letters': () => 'жетон' as never,
  'that is no text': () => ({}) as never,
  'that cannot be had': () => {
    throw new Error('no session');
  },
  'that is refused': () => Promise.reject(new Error('no session')) as never,
  'that is refused without a reason': () => Promise.reject() as never,
  'that is refused with no text': () => Promise.reject('') as never,
}))
  test(`RenClient: a token ${name} is told once, and asked for again`, async () => {
    let broken = true;
    const client = await ren({ getToken: () => (broken ? getToken() : 'T') });
    await pass(60_000);
    assert.deepEqual([told.length, client.state, requests.length], [1, 'connecting', 0]);
    assert.ok(!/a[\n\r]b|жетон/.test(told[0]!.message), 'without the token in it');
    broken = false;
    await pass(16_000);
    assert.equal(requests.at(-1)!.headers.get('Authorization'), 'Bearer T');
    await requests.at(-1)!.stream('event: ren.hello\nid: c\ndata: {"state":"fresh"}\n\n');
    broken = true;
    await requests.at(-1)!.cut();
    await pass(60_000);
    assert.equal(told.length, 2, 'and once more when it had been good');
  });

test('a token may end with a line break, as files do', async () => {
  await ren({ getToken: () => 'T\n' });
  assert.deepEqual([requests[0]!.headers.get('Authorization'), told], ['Bearer T', []]);
});

for (const none of [undefined, '', null])
  test(`no token (${JSON.stringify(none)}) is none, and the cookies count`, async () => {
    await ren({ getToken: () => none as never });
    assert.equal(requests[0]!.headers.get('Authorization'), null);
    realtime({ getToken: () => none as never }).connect();
    await settle();
    FakeSocket.last.open();
    assert.deepEqual([FakeSocket.last.sent, told], [[{ op: 'hello', cid: clientId }], []]);
  });

const silent = (): Promise<never> => new Promise(() => {});
for (const [name, start] of Object.entries({ RenClient: renEnd, RealtimeClient: realtimeEnd }))
  test(`${name}: a getToken that never answers is told once, and asked again after a minute`, async () => {
    let asked: number[] = [];
    let hangs = true;
    const getToken = (): string | Promise<never> => (asked.push(clock.now), hangs ? silent() : 'T');
    const end = await start({ getToken, onError: note });
    await pass(59_999);
    assert.deepEqual([asked.length, told.length], [1, 0]);
    await pass(200_000);
    const waits = asked.slice(1).map((at, i) => at - asked[i]! - 60_000);
    assert.deepEqual([told.map(({ message }) => message), end.client.state], [['no answer'], 'connecting']);
    assert.ok(waits.length > 2 && waits.every((ms, i) => ms > 0 && (i === 0 || ms > waits[i - 1]!)), `growing waits: ${waits}`);
    hangs = false;
    await pass(70_000);
    await end.greet();
    assert.deepEqual([end.client.state, told.length], ['open', 1]);
    hangs = true;
    await end.cut();
    await pass(70_000);
    assert.equal(told.length, 2, 'and once more when it had been good');
    end.close();
    assert.equal(clock.timers, 0, 'nothing is left of it');
  });

test('an error that nobody listens for goes to the console, once', async () => {
  const reported: unknown[] = [];
  mock.method(console, 'error', (...what: unknown[]) => void reported.push(what));
  const client = new RenClient({ clientId, getToken: () => Promise.reject(new Error('no session')) });
  await pass(60_000);
  client.close();
  assert.equal(reported.length, 1);
});

test('who listens for errors may end the client', async () => {
  const rt = realtime({ getToken: () => Promise.reject(new Error('no session')) });
  rt.onError(() => rt.disconnect());
  rt.connect();
  await pass(60_000);
  assert.deepEqual([rt.state, clock.timers], ['closed', 0]);
});

for (const [thrown, ends] of [['SyntaxError', true], ['SecurityError', true], ['TypeError', true], ['UnknownError', false]] as const)
  test(`a WebSocket that throws a ${thrown} is told once, and ${ends ? 'ends the client' : 'tried again'}`, async () => {
    let attempts = 0;
    class Broken {
      constructor() {
        attempts++;
        throw new DOMException('not here', thrown);
      }
    }
    const rt = realtime({ WebSocket: Broken as never });
    const waiting = ask(rt);
    rt.connect();
    await pass(60_000);
    assert.deepEqual([told.length, rt.state, attempts > 1], [1, ends ? 'closed' : 'connecting', !ends]);
    assert.match(told[0]!.message, /not here/);
    assert.equal(settled(waiting), ends);
  });

test('frames that no server of ours sends are told, and the connection goes on', async () => {
  const rt = realtime();
  const got: unknown[] = [];
  rt.subscribe('room', ({ data }) => got.push(data));
  rt.presence('room').onJoin(({ userId }) => got.push(userId));
  rt.connect();
  await settle();
  const socket = FakeSocket.last;
  socket.open();
  const hear = (data: unknown): unknown => socket.in(() => socket.onmessage!({ data }));
  for (const odd of ['{"event":"hello"}', 'null', '', Uint8Array.of(1, 10, 2), new ArrayBuffer(8), undefined]) hear(odd);
  assert.ok(told.length > 0 && codes().every((code) => code === 'bad_json'), String(codes()));
  await socket.greet();
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c' });
  const state = { event: 'presence.state', channel: 'room', cursor: 'c' };
  for (const odd of [5, true, [], {}, { event: 5 }, { ...state, members: null }, { ...state, members: [null] }, { event: 'ok', ref: 'x' }, { event: 'error' }])
    hear(JSON.stringify(odd) + '\n' + JSON.stringify({ event: 'message', channel: 'room', data: 1, id: 'c1' }));
  socket.say({ ...state, members: [{ userId: 'ada', lastSeen: 1 }] });
  assert.deepEqual([got.filter((data) => data === 1).length, got.at(-1), rt.state, FakeSocket.all.length], [9, 'ada', 'open', 1]);
});

const { fetch: usual } = globalThis;
const gives = (answer: unknown) => async () => answer as Response;
for (const [name, spoil] of Object.entries<() => unknown>({
  'without fetch': () => delete (globalThis as { fetch?: unknown }).fetch,
  'whose fetch is mocked, and gives nothing': () => (globalThis.fetch = (() => undefined) as never),
  'whose fetch is mocked with as little as another test needs': () => (globalThis.fetch = gives({ ok: true, json: async () => ({}) })),
  'whose fetch is mocked with a refusal': () => (globalThis.fetch = gives({ ok: false, status: 401, json: async () => ({}) })),
  'whose fetch is mocked without a body': () => (globalThis.fetch = gives({ ok: true, headers: new Headers({ 'Content-Type': 'text/event-stream' }) })),
  'whose fetch throws': () => (globalThis.fetch = () => {
    throw new Error('not mocked');
  }),
  'without a network': () => (globalThis.fetch = () => Promise.reject(new TypeError('Failed to fetch'))),
}))
  test(`RenClient on a host ${name} says so in the console, once`, async () => {
    const warned: unknown[] = [];
    mock.method(console, 'warn', (...what: unknown[]) => void warned.push(what.join(' ')));
    spoil();
    try {
      const client = await ren();
      await settle();
      assert.match(warned.join(), /^\[ren\] \w*Error: /);
      await pass(60_000);
      assert.deepEqual([warned.length, told, client.state], [1, [], 'connecting']);
    } finally {
      globalThis.fetch = usual;
    }
  });

test('RenClient says nothing of a server that is away, once it has been there, nor of an attempt that the page ends', async () => {
  const warned: unknown[] = [];
  mock.method(console, 'warn', (...what: unknown[]) => void warned.push(what));
  (await ren()).close();
  await settle();
  const client = await ren({ maxBackoffMs: 500 });
  await requests.at(-1)!.stream('event: ren.hello\nid: c\ndata: {"state":"fresh"}\n\n');
  await requests.at(-1)!.cut();
  for (let i = 0; i < 5; i++) {
    await pass(1_000);
    await requests.at(-1)!.fail();
  }
  assert.deepEqual([warned, told, client.state], [[], [], 'connecting']);
});

test('an attempt that began before there was a network is not waited for', async () => {
  await ren();
  await pass(2_000);
  page.fire('online');
  await settle();
  assert.deepEqual([requests.length, requests[0]!.aborted], [2, true]);
  page.fire('online');
  await settle();
  assert.equal(requests.length, 2);
});
