// Which events are about the page, and what a page does at them.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { RealtimeClient } from '../src/realtime.js';
import { RenClient } from '../src/ren.js';
import { begin, FakeSocket, requests, settle, type FakePage } from './fakes.js';

let page: FakePage;
let ren: RenClient;
let rt: RealtimeClient;

beforeEach(async () => {
  page = begin();
  ren = new RenClient({ clientId: 'client-of-this-tab' });
  rt = new RealtimeClient({ clientId: 'client-of-this-tab' });
  rt.connect();
  await settle();
  await requests[0]!.stream('event: ren.hello\nid: c0\ndata: {"state":"fresh","cursor":"c0"}\n\n');
  await FakeSocket.last.greet();
  assert.deepEqual(states(), ['open', 'open']);
});

afterEach(() => {
  ren.close();
  rt.disconnect();
});

const states = (): string[] => [ren.state, rt.state];
const attempts = (): number[] => [requests.length, FakeSocket.all.length];

for (const type of ['freeze', 'pagehide']) test(`a ${type} of an element, or one that the app makes up, is not the page's`, async () => {
  const element = { parentNode: page.document };
  page.pass(new Event(type, { bubbles: true }), element);
  page.pass(new CustomEvent(type, { bubbles: true }), element);
  page.pass(new CustomEvent(type), page.document);
  page.window.dispatchEvent(new CustomEvent(type, { detail: 1 }));
  await settle();
  assert.deepEqual([states(), attempts()], [['open', 'open'], [1, 1]]);
});

for (const type of ['online', 'pageshow', 'resume', 'visibilitychange']) test(`neither is a ${type}`, async () => {
  page.life('freeze');
  page.pass(new Event(type, { bubbles: true }), { parentNode: page.document });
  page.window.dispatchEvent(new CustomEvent(type));
  await settle();
  assert.deepEqual([states(), attempts()], [['connecting', 'connecting'], [1, 1]]);
});

test('a page that is looked at again has its connections, whatever it was told before', async () => {
  page.life('freeze'); // and no resume
  page.look('visible');
  await settle();
  assert.deepEqual(attempts(), [2, 2]);
});

test('so has one that was told that it goes, and stayed', async () => {
  page.fire('pagehide');
  page.look('visible'); // as it may look while it goes
  assert.deepEqual(attempts(), [1, 1]);
  page.look('hidden');
  page.look('visible');
  await settle();
  assert.deepEqual(attempts(), [2, 2]);
});

test('a worker, which has no document, comes back when the network does', async () => {
  delete (globalThis as { document?: unknown }).document;
  await requests[0]!.cut();
  await FakeSocket.last.drop();
  page.fire('online');
  await settle();
  assert.deepEqual(attempts(), [2, 2]);
});
