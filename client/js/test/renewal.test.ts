// Credentials that are renewed before they expire: over the open WebSocket, and by another stream.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { RealtimeClient } from '../src/realtime.js';
import { RenClient } from '../src/ren.js';
import { begin, dice, FakeSocket, pass, requests, settle, type FakePage } from './fakes.js';

const clientId = 'browserbrowser.tab1';
const timers: [expiresIn: number, after: number][] = [
  [900_000, 810_000], // a tenth is left
  [60_000, 50_000], // ten seconds
  [15_000, 7_500], // a half
];

let page: FakePage;
let asked: number;
let token: () => string | undefined | Promise<string>;
let errors: unknown[], states: string[];
let rt: RealtimeClient | undefined;
let ren: RenClient | undefined;
const getToken = (): ReturnType<typeof token> => {
  asked++;
  return token();
};

beforeEach(() => {
  page = begin();
  dice(0.5);
  [asked, errors, states] = [0, [], []];
  token = () => 'T' + asked;
});

afterEach(() => {
  rt?.disconnect();
  ren?.close();
  rt = ren = undefined;
  mock.restoreAll();
});

async function socket(expiresIn?: number, options: object = { getToken }): Promise<FakeSocket> {
  rt = new RealtimeClient({ clientId, ...options });
  rt.onError((error) => void errors.push((error as { code?: string }).code ?? error.message));
  rt.onState((state) => void states.push(state));
  rt.connect();
  await settle();
  await FakeSocket.last.greet({ expiresIn });
  return FakeSocket.last;
}

const hello = (more: object, cursor = 'c0'): string => `event: ren.hello\nid: ${cursor}\ndata: ${JSON.stringify({ cursor, state: 'fresh', ...more })}\n\n`;
const last = (): (typeof requests)[0] => requests.at(-1)!;

async function stream(expiresIn?: number): Promise<void> {
  ren = new RenClient({ clientId, getToken });
  ren.onError((error) => void errors.push((error as { code?: string }).code ?? error.message));
  ren.onState((state) => void states.push(state));
  await settle();
  await last().stream(hello({ expiresIn }));
}

/** Lets time pass on a connection that is not silent. */
async function live(ms: number, beat: () => unknown): Promise<void> {
  for (; ms > 20_000; ms -= 20_000) {
    await pass(20_000);
    await beat();
  }
  await pass(ms);
}
const ping = (): void => FakeSocket.last.say({ event: 'ping', cursor: 'c' });

for (const [expiresIn, after] of timers) {
  test(`channels: what expires in ${expiresIn} ms is renewed after ${after}`, async () => {
    const it = await socket(expiresIn);
    await live(after - 1, ping);
    assert.deepEqual([it.ops('hello').length, asked], [1, 1]);
    await pass(1);
    assert.deepEqual(it.ops('hello').slice(1), [{ ref: 1, op: 'hello', token: 'T2' }]);
    it.answer('hello', { event: 'ok', expiresIn });
    await live(after, ping);
    assert.equal(it.ops('hello').length, 3, 'and again');
    it.answer('hello'); // never again
    await live(expiresIn * 2, ping);
    assert.deepEqual([it.ops('hello').length, FakeSocket.all.length, errors, states], [3, 1, [], ['connecting', 'open']]);
  });

  test(`REN: what expires in ${expiresIn} ms is renewed after ${after}, from the cursor`, async () => {
    await stream(expiresIn);
    await live(after - 1, () => last().send('id: c7\ndata: {"t":"m","r":"m"}\n\n'));
    assert.equal(requests.length, 1);
    await last().send('id: c8\ndata: {"t":"m","r":"m"}\n\n');
    await pass(1);
    assert.equal(requests.length, 2);
    assert.deepEqual([requests[0]!.aborted, last().headers.get('Authorization'), last().headers.get('Last-Event-ID')], [true, 'Bearer T2', 'c8']);
    await last().stream(hello({ expiresIn, state: 'resumed' }, 'c8'));
    await live(after, () => last().send(': beat\n\n'));
    assert.deepEqual([requests.length, errors, states], [3, [], ['open']], 'nobody sees the change');
  });
}

test('what expires in a month is not renewed at once, whatever a timer can be set for', async () => {
  const it = await socket(30 * 86_400_000);
  await live(120_000, ping);
  assert.equal(it.ops('hello').length, 1);
});

test('without getToken, or without an expiry, nothing is renewed', async () => {
  const it = await socket(60_000, {});
  await live(59_000, ping);
  assert.equal(it.ops('hello').length, 1);
  rt!.disconnect();
  const other = await socket();
  await live(600_000, ping);
  assert.deepEqual([other.ops('hello').length, asked], [1, 1]);
});

for (const code of ['unauthorized', 'expired', 'user_mismatch'])
  test(`a renewal that is refused as ${code} is told once and tried again; the connection goes on`, async () => {
    const it = await socket(60_000);
    await live(50_000, ping);
    it.answer('hello', { event: 'error', code, message: '', retry: false });
    await pass(4_999);
    assert.equal(it.ops('hello').length, 2);
    await pass(1);
    it.answer('hello', { event: 'error', code, message: '', retry: false });
    await pass(4_000);
    assert.deepEqual([rt!.state, errors, FakeSocket.all.length], ['open', [code], 1]);
    assert.ok(it.ops('hello').length < 7, `${it.ops('hello').length} hellos`);
    it.say({ event: 'bye', reason: 'expired', retryMs: 0, cursor: 'c' });
    await pass(1_000);
    assert.equal(FakeSocket.all.length, 2);
    FakeSocket.last.open();
    assert.equal(FakeSocket.last.sent[0]!['token'], 'T' + asked);
  });

test('a renewal that is refused for the moment is sent again', async () => {
  const it = await socket(60_000);
  await live(50_000, ping);
  it.answer('hello', { event: 'error', code: 'unavailable', message: '', retry: true });
  await pass(3_000);
  assert.deepEqual([it.ops('hello').length, errors], [3, []]);
  it.answer('hello', { event: 'ok', expiresIn: 60_000 });
  await live(40_000, ping);
  assert.equal(it.ops('hello').length, 3);
});

const fail = (): never => {
  throw new Error('no session');
};
for (const [name, fails] of Object.entries<typeof token>({ throws: fail, rejects: async () => fail() }))
  test(`a getToken that ${name} when it is to renew is told once, and asked again`, async () => {
    const it = await socket(60_000);
    token = fails;
    await live(50_000, ping);
    await pass(5_000);
    assert.deepEqual([errors, asked, rt!.state, it.ops('hello').length], [['no session'], 3, 'open', 1]);
    token = () => 'late';
    await pass(2_500);
    assert.equal(it.ops('hello')[1]!['token'], 'late');
  });

test('a getToken that gives none when it is to renew changes nothing', async () => {
  const it = await socket(60_000);
  token = () => undefined;
  await live(56_000, ping);
  assert.deepEqual([it.ops('hello').length, errors, rt!.state], [1, [], 'open']);
});

test('a getToken that throws nothing when it is to renew is told nevertheless', async () => {
  await socket(60_000);
  token = () => Promise.reject();
  await live(50_500, ping);
  assert.deepEqual([errors, rt!.state], [['no token'], 'open']);
});

test('a token that comes when its connection is over renews nothing', async () => {
  const it = await socket(60_000);
  let give!: (token: string) => void;
  token = () => new Promise((done) => (give = done));
  await live(50_000, ping);
  await it.drop();
  const late = give;
  token = () => 'next';
  await pass(1_000);
  await FakeSocket.last.greet({ expiresIn: 60_000 });
  late('late');
  await settle();
  assert.deepEqual([it.ops('hello').length, FakeSocket.last.sent.map(({ token: sent }) => sent)], [1, ['next']]);
});

test('REN: the same token once more is no reason for another stream', async () => {
  await stream(60_000);
  token = () => 'T1';
  await live(59_000, () => last().send(': beat\n\n'));
  assert.equal(requests.length, 1);
});

test('REN: a renewed token that is refused costs the stream, and is asked for again', async () => {
  await stream(60_000);
  await live(50_000, () => last().send(': beat\n\n'));
  await last().answer(401, {}, '{"code":"unauthorized","message":"who?","retry":false}');
  assert.equal(ren!.state, 'connecting');
  await pass(1_000);
  assert.equal(last().headers.get('Authorization'), 'Bearer T3');
  await last().stream(hello({ expiresIn: 60_000, state: 'resumed' }));
  assert.deepEqual([ren!.state, errors], ['open', []]);
});

test('a page that comes back from the cache begins with a token of now', async () => {
  await socket(60_000);
  page.fire('pagehide');
  await pass(55_000);
  assert.equal(asked, 1);
  page.fire('pageshow');
  await settle();
  FakeSocket.last.open();
  assert.equal(FakeSocket.last.sent[0]!['token'], 'T2');
});

test('the expiry of an earlier connection does not concern the next', async () => {
  const it = await socket(60_000);
  await it.drop();
  await pass(1_000);
  await FakeSocket.last.greet();
  await live(120_000, ping);
  assert.equal(FakeSocket.last.ops('hello').length, 1);
});
