// Both clients in pages that are not as usual.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { RealtimeClient } from '../src/realtime.js';
import { RenClient } from '../src/ren.js';
import { shareTabs } from '../src/share.js';
import { layer } from '../src/transport.js';
import { begin, clock, dice, FakeSocket, limits, pass, settle, type FakePage, type Op } from './fakes.js';
import { Server } from './server.js';
import { installTabs } from './tabs.js';

const globals = globalThis as unknown as Record<string, unknown>;
const usual = { ...layer };
let server: Server;
let page: FakePage;
let told: unknown[];
let later: () => void; // what happens when both clients are open
let restore: () => void;

beforeEach(() => {
  page = begin();
  dice(0.5);
  server = new Server();
  server.install();
  told = [];
  later = restore = () => {};
  for (const name of ['error', 'warn'] as const) mock.method(console, name, (...what: unknown[]) => void told.push(what));
});

afterEach(() => {
  restore();
  Object.assign(layer, usual);
  mock.restoreAll();
});

const forbid = (name: string): unknown =>
  Object.defineProperty(globalThis, name, { configurable: true, get: () => {
    throw new DOMException('no', 'SecurityError');
  } });
const allow = (name: string): unknown => Object.defineProperty(globalThis, name, { configurable: true, writable: true, value: undefined });

/** Has an app put something around fetch. */
function wrap(around: (fetch: typeof globalThis.fetch) => typeof globalThis.fetch): void {
  globalThis.fetch = around(globalThis.fetch);
}

const environments: Record<string, () => void> = {
  'storage that throws': () => {
    for (const name of ['localStorage', 'sessionStorage']) forbid(name);
    restore = () => ['localStorage', 'sessionStorage'].forEach(allow);
  },
  'storage that is full': () => {
    for (const name of ['localStorage', 'sessionStorage'])
      globals[name] = { getItem: () => null, removeItem: () => {}, setItem: () => {
        throw new DOMException('full', 'QuotaExceededError');
      } };
  },
  'no BroadcastChannel': () => {
    installTabs();
    delete globals['BroadcastChannel'];
    shareTabs();
  },
  'a BroadcastChannel that throws': () => {
    installTabs();
    globals['BroadcastChannel'] = class {
      constructor() {
        throw new DOMException('no', 'SecurityError');
      }
    };
    shareTabs();
  },
  'a page that nobody looks at': () => void (page.document.hidden = true),
  'a fetch that an app has wrapped': () =>
    wrap((fetch) => async (input, init) => {
      const { body, headers, status } = await fetch(input, { ...init, headers: Object.fromEntries(new Headers(init?.headers)) });
      return new Response(body, { headers, status });
    }),
  'a fetch that takes its time': () => wrap((fetch) => (input, init) => new Promise((done) => setTimeout(() => done(fetch(input, init)), 3_000))),
  'a clock that is set back': () => void (later = () => clock.sleep(-86_400_000)),
  'a page that says it is offline': () => void (later = () => page.window.dispatchEvent(new Event('offline'))),
};

for (const [name, install] of Object.entries(environments))
  test('both clients work with ' + name, async () => {
    install();
    const ren = new RenClient();
    const rt = new RealtimeClient();
    const got: unknown[] = [];
    ren.on(({ data }) => got.push(data));
    rt.subscribe('room', ({ data }) => got.push(data));
    rt.connect();
    await pass(5_000);
    assert.deepEqual([ren.state, rt.state], ['open', 'open']);
    later();
    server.publish('room', 1);
    await settle();
    await server.cut();
    server.publish('room', 2);
    await pass(8_000);
    assert.deepEqual(got.sort(), [1, 1, 2, 2]);
    const end = rt.publish('room', 3);
    await pass(1_000);
    await end;
    ren.close();
    rt.disconnect();
    await settle();
    assert.deepEqual(told, []);
  });

test('five hundred subscriptions: each is asked for once, no faster than the server allows, and goes on after a cut', async () => {
  const many = 500;
  server.limits = limits;
  const rt = new RealtimeClient({ clientId: 'browserbrowser.tab1' });
  const got: unknown[] = [];
  const offs = Array.from({ length: many }, (_, n) => rt.subscribe('room:' + n, ({ data }) => got.push(data)));
  rt.connect();
  await pass(1_000);
  assert.ok(FakeSocket.last.ops('subscribe').length < 90);
  await pass(30_000);
  for (let n = 0; n < many; n++) server.publish('room:' + n, n);
  await settle();
  await server.cut();
  for (let n = 0; n < many; n++) server.publish('room:' + n, many + n);
  await pass(40_000);
  assert.deepEqual(FakeSocket.all.map((socket) => socket.ops('subscribe').length), [many, many]);
  assert.ok(FakeSocket.last.ops('subscribe').every(({ since }: Op) => since), 'from its cursor');
  assert.deepEqual([got.length, new Set(got).size], [2 * many, 2 * many]);
  offs.forEach((off) => off());
  await pass(30_000);
  assert.equal(FakeSocket.last.ops('unsubscribe').length, many);
  rt.disconnect();
  await settle();
  assert.deepEqual([clock.timers, told], [0, []]);
});
