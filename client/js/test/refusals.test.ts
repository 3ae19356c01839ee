// What a client makes of refusals: told once, and nothing waits for it.
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import type { RealtimeClient } from '../src/realtime.js';
import type { RenClientOptions } from '../src/ren.js';
import { realtimeEnd, renEnd, type End } from './ends.js';
import { clock, FakeSocket, pass, requests, settle, type FakeRequest } from './fakes.js';
import { ask, close, codes, note, realtime, ren, settled, told, type Told } from './refusalkit.js';

const html = { 'Content-Type': 'text/html' };
const json = { 'Content-Type': 'application/json' };

for (const closes of [undefined, 4400, 4401, 4403, 1000])
  for (const code of ['bad_request', 'user_mismatch', 'forbidden', 'weird'])
    test(`a hello refused as ${code} ends the client, ${closes ? `closed with ${closes}` : 'with nothing after it'}`, async () => {
      const rt = realtime({ clientId: 'ada' });
      rt.subscribe('room', () => {});
      const early = ask(rt);
      rt.connect();
      await settle();
      FakeSocket.last.open();
      FakeSocket.last.say({ event: 'error', code, message: `no, as ${code}`, retry: false });
      if (closes) await FakeSocket.last.drop(closes);
      await settle();
      assert.deepEqual([codes(), told[0]!.message, rt.state, FakeSocket.last.closed], [[code], `no, as ${code}`, 'closed', closes ?? 1000]);
      assert.deepEqual(early.filter(({ is }) => is === 'waits'), []);
      const late = ask(rt);
      await settle();
      assert.deepEqual(late.map(({ is }) => is), [code, code, 'not_joined', 'ok']);
      rt.subscribe('other', () => {});
      assert.deepEqual(told.map((error) => (error as { channel?: string }).channel), [undefined, 'other'], 'a subscription is refused, too');
      await pass(120_000);
      assert.equal(FakeSocket.all.length, 1);
    });

test('a hello refused for the moment is tried again: when the bye says, or soon where none comes', async () => {
  const rt = realtime();
  rt.connect();
  for (const [bye, wait] of [[undefined, 1_750], [4_000, 4_000]] as const) {
    await settle();
    const n = FakeSocket.all.length;
    FakeSocket.last.open();
    FakeSocket.last.say({ event: 'error', code: 'unavailable', message: 'later', retry: true });
    if (bye) FakeSocket.last.say({ event: 'bye', reason: 'unavailable', retryMs: bye });
    await pass(wait - 1);
    assert.equal(FakeSocket.all.length, n);
    await pass(1);
    assert.deepEqual([FakeSocket.all.length, rt.state, codes()], [n + 1, 'connecting', []]);
  }
});

test("an error of the server's own is no refusal of the client", async () => {
  const rt = realtime();
  rt.connect();
  await settle();
  FakeSocket.last.open();
  FakeSocket.last.say({ event: 'error', code: 'internal', message: '', retry: false }, { event: 'bye', reason: 'internal', retryMs: 2000 });
  await FakeSocket.last.drop(1011);
  await pass(3_000);
  assert.deepEqual([FakeSocket.all.length, rt.state, codes()], [2, 'connecting', []]);
});

for (const [name, end] of [
  ['without autoReconnect, once the connection is lost', () => FakeSocket.last.drop()],
  ['without autoReconnect, at a bye', async () => FakeSocket.last.say({ event: 'bye', reason: 'rotate', retryMs: 5 })],
  ['after a disconnect', undefined],
] as const)
  test(`nothing waits for a client that is closed: ${name}`, async () => {
    const rt = realtime({ autoReconnect: !end });
    rt.connect();
    await settle();
    await FakeSocket.last.greet();
    void rt.presence('room').join('ada');
    FakeSocket.last.answer('join');
    const early = ask(rt);
    if (end) await end();
    else rt.disconnect();
    await settle();
    assert.equal(rt.state, 'closed');
    const late = ask(rt);
    await settle();
    assert.ok(settled([...early, ...late]), JSON.stringify([early, late]));
    assert.deepEqual([late[0]!.is, late[1]!.is, codes()], ['closing', 'closing', []]);
    rt.subscribe('room', () => {});
    rt.connect();
    await settle();
    await FakeSocket.last.greet();
    assert.equal(FakeSocket.last.ops('subscribe').length, 1, 'a subscription waits for the next connect');
  });

test('a first attempt that fails without autoReconnect refuses what waits', async () => {
  const rt = realtime({ autoReconnect: false });
  const ends = ask(rt);
  rt.connect();
  await settle();
  await FakeSocket.last.fail();
  assert.ok(settled(ends));
  assert.equal(rt.state, 'closed');
});

test('a WebSocket that only says error is lost, and says nothing afterwards that counts', async () => {
  const rt = realtime();
  rt.connect();
  await settle();
  const first = FakeSocket.last;
  await first.fail();
  assert.equal(rt.state, 'connecting');
  await pass(999);
  assert.equal(FakeSocket.all.length, 2);
  await first.fail();
  await first.drop();
  await FakeSocket.last.greet();
  const second = FakeSocket.last;
  rt.disconnect();
  await second.fail();
  assert.deepEqual([rt.state, FakeSocket.all.length, codes()], ['closed', 2, []]);
});

for (const [name, ends] of Object.entries<(socket: FakeSocket) => Promise<void>>({
  'fails twice': (socket) => socket.fail().then(() => socket.fail()),
  'closes before it has opened, and fails after that': (socket) => socket.drop().then(() => socket.fail()),
  'fails, and closes, and opens': async (socket) => {
    await socket.fail();
    await socket.drop();
    socket.open();
    socket.say({ event: 'hello', src: 'TAG', cursor: 'c', limits: {} });
    await settle();
  },
}))
  test(`a WebSocket that ${name} is one attempt that failed`, async () => {
    const rt = realtime();
    rt.connect();
    await settle();
    await ends(FakeSocket.last);
    assert.equal(rt.state, 'connecting');
    await pass(999);
    assert.equal(FakeSocket.all.length, 2);
    await FakeSocket.last.greet();
    assert.deepEqual([rt.state, codes()], ['open', []]);
  });

test('a hello refused without autoReconnect refuses what waits', async () => {
  const rt = realtime({ autoReconnect: false });
  const presence = rt.presence('room');
  const ends = [rt.publish('room', 1), presence.join('ada'), presence.update(1)].map((promise) => promise.catch((error: Told) => error.code));
  rt.connect();
  await settle();
  FakeSocket.last.open();
  FakeSocket.last.say({ event: 'error', code: 'unavailable', message: 'later', retry: true });
  await pass(2_000);
  assert.deepEqual([rt.state, await Promise.all(ends)], ['closed', ['closing', 'closing', 'closing']]);
});

test('a page of a proxy, and then the refusal of the server', async () => {
  const client = await ren();
  await requests[0]!.answer(401, html, '<h1>No</h1>');
  await pass(1_000);
  await requests[1]!.answer(403, json, '{"code":"forbidden","message":"not you","retry":false}');
  assert.deepEqual([client.state, codes(), told[0]!.message], ['closed', ['forbidden'], 'not you']);
});

// What a server of ours has not said is not final.

for (const [name, answer] of [
  ...[400, 401, 403, 404, 405, 407, 410, 413, 421, 426, 431, 451].map((status) => [`${status} of a proxy`, (r: FakeRequest) => r.answer(status, html, '<h1>No</h1>')] as const),
  ['an empty 401', (r: FakeRequest) => r.answer(401)],
  ['403 in the shape of a gateway', (r: FakeRequest) => r.answer(403, json, '{"message":"Forbidden"}')],
  ['403 in another shape', (r: FakeRequest) => r.answer(403, json, '{"code":403,"message":"Forbidden"}')],
  ['403 with a code of another kind', (r: FakeRequest) => r.answer(403, json, '{"code":"AccessDenied","message":"no","retry":false}')],
  ['403 without a retry', (r: FakeRequest) => r.answer(403, json, '{"code":"forbidden","message":"no"}')],
  ['200 with a refusal', (r: FakeRequest) => r.answer(200, json, '{"code":"forbidden","message":"no","retry":false}')],
  ['502 with a refusal', (r: FakeRequest) => r.answer(502, json, '{"code":"forbidden","message":"no","retry":false}')],
  ['403 that forbids a retry, without a code', (r: FakeRequest) => r.answer(403, json, '{"message":"Forbidden","retry":false}')],
  ['403 with a code that is null', (r: FakeRequest) => r.answer(403, json, '{"code":null,"message":"no","retry":false}')],
  ['403 with a list of codes', (r: FakeRequest) => r.answer(403, json, '{"code":["forbidden"],"message":"no","retry":false}')],
  ['a page to log in at, after a redirect', (r: FakeRequest) => r.answer(200, html, '<form>')],
  ['a redirect that nobody may see', (r: FakeRequest) => r.respond(Response.error())],
  ['503 of a proxy', (r: FakeRequest) => r.answer(503, html, '<h1>Back soon</h1>')],
  ['204', (r: FakeRequest) => r.answer(204)],
  ['401 that breaks off', (r: FakeRequest) => r.respond(new Response(new ReadableStream({ start: (body) => body.error(new TypeError('reset')) }), { status: 401 }))],
  ['401 that is JSON and no object', (r: FakeRequest) => r.answer(401, json, 'null')],
  ['a refusal for the moment', (r: FakeRequest) => r.answer(429, json, '{"code":"too_many","message":"later","retry":true}')],
] as const)
  test(`${name} does not end a stream`, async () => {
    const warned: unknown[] = [];
    mock.method(console, 'warn', (...what: unknown[]) => void warned.push(what.join(' ')));
    const client = await ren();
    for (let n = 1; n < 20; n++) {
      await answer(requests.at(-1)!);
      await pass(16_000);
      assert.deepEqual([requests.length, client.state, codes()], [n + 1, 'connecting', []]);
    }
    await requests.at(-1)!.stream('event: ren.hello\nid: c\ndata: {"state":"fresh"}\n\n');
    assert.equal(client.state, 'open');
  });

for (const [status, code] of [[400, 'bad_request'], [400, 'too_many'], [403, 'origin'], [403, 'forbidden'], [404, 'not_found'], [405, 'method'], [421, 'host']] as const)
  test(`${status} ${code} of the server ends a stream`, async () => {
    const client = await ren();
    await requests[0]!.answer(status, json, JSON.stringify({ code, message: 'no', retry: false }));
    await pass(60_000);
    assert.deepEqual([requests.length, client.state, codes(), told[0]!.message], [1, 'closed', [code], 'no']);
  });

// Credentials have half a minute, by a clock that notices sleep.

for (const [kind, open] of Object.entries({ RenClient: renEnd, RealtimeClient: realtimeEnd })) {
  const start = async (options: RenClientOptions = {}): Promise<End> => {
    const end = await open(options);
    end.client.onError(note);
    close.push(() => end.close());
    return end;
  };
  /** Has the server refuse what is tried for so long. */
  const deny = async (end: End, ms: number): Promise<void> => {
    const until = clock.now + ms;
    const goesOn = (): boolean => clock.now < until && end.client.state !== 'closed';
    while (goesOn()) {
      const n = end.attempts().length;
      await end.deny();
      while (end.attempts().length === n && goesOn()) await pass(Math.min(100, until - clock.now));
    }
  };

  for (const renewedAfter of [1_000, 4_000, 15_000, 29_900])
    test(`${kind}: a token that is renewed ${renewedAfter} ms late is early enough`, async () => {
      const end = await start({ getToken: () => 'T' });
      await end.greet();
      await pass(5_000);
      await end.bye(0, 'expired');
      const expired = clock.now;
      await pass(500);
      while (end.attempts().length < 2) await pass(100);
      await deny(end, expired + renewedAfter - clock.now);
      const n = end.attempts().length;
      while (end.attempts().length === n && clock.now < expired + 34_000) await pass(100);
      await end.greet();
      assert.deepEqual([end.client.state, codes()], ['open', []]);
      assert.ok(clock.now - expired <= 32_000, 'while the server still counts the user as present');
    });

  test(`${kind}: half a minute begins again when the machine wakes`, async () => {
    const end = await start();
    await deny(end, 20_000);
    clock.sleep(3_600_000);
    await pass(16_000);
    await deny(end, 20_000);
    assert.deepEqual([end.client.state, codes()], ['connecting', []]);
    await deny(end, 15_000);
    assert.deepEqual([end.client.state, codes()], ['closed', ['unauthorized']]);
  });

  test(`${kind}: it also does where an answer was on its way as the machine fell asleep`, async () => {
    const end = await start();
    await deny(end, 20_000);
    const n = end.attempts().length;
    while (end.attempts().length === n) await pass(100);
    clock.sleep(3_600_000);
    await end.deny();
    assert.equal(end.client.state, 'connecting');
  });

  test(`${kind}: and where there was no network meanwhile`, async () => {
    const end = await start();
    await deny(end, 5_000);
    for (let n = end.attempts().length, from = clock.now; clock.now < from + 40_000; await pass(100))
      if (end.attempts().length > n) {
        n = end.attempts().length;
        await end.cut();
      }
    const n = end.attempts().length;
    while (end.attempts().length === n) await pass(100);
    await end.deny();
    assert.equal(end.client.state, 'connecting');
  });

  test(`${kind}: a client that was refused for good has its time again when it is told to connect`, async () => {
    if (kind === 'RenClient') return; // which cannot be told
    const end = await start();
    const rt = end.client as RealtimeClient;
    await deny(end, 40_000);
    assert.deepEqual([rt.state], ['closed']);
    rt.connect();
    await settle();
    await deny(end, 20_000);
    assert.deepEqual([rt.state], ['connecting']);
  });

  test(`${kind}: tokens that live for a second are no loop`, async () => {
    const end = await start({ getToken: () => 'T' });
    for (const from = clock.now; clock.now < from + 20_000; ) {
      const n = end.attempts().length;
      await end.greet({ retryMs: 1, expiresIn: 1_000 });
      await pass(1_000);
      await end.bye(0, 'expired');
      while (end.attempts().length === n) await pass(50);
    }
    assert.ok(end.attempts().length <= 8, `${end.attempts().length} attempts in 20 s`);
  });
}
