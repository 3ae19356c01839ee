// The messages of a channel, those of before too.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { createElement } from 'react';
import { act, create, type ReactTestRenderer } from 'react-test-renderer';
import '../src/history.js';
import { useHistory } from '../src/react.js';
import { RealtimeClient } from '../src/realtime.js';
import { historyStore, type HistoryStore } from '../src/stores.js';
import { begin, dice, FakeSocket, pass, settle, type Op } from './fakes.js';

let rt: RealtimeClient;
let socket: FakeSocket;
let store: HistoryStore;
let off: () => void;
let changes: number;

Object.assign(globalThis, {
  IS_REACT_ACT_ENVIRONMENT: true,
  /** React's act() opens one for each call, and leaves it open, which keeps the process. */
  MessageChannel: class {
    port1 = { onmessage: () => {} };
    port2 = { postMessage: (): void => void setImmediate(() => this.port1.onmessage()) };
  },
});

const clientId = 'browserbrowser.tab1';
const message = (n: number, more: object = {}): object => ({ event: 'message', channel: 'room', data: n, ts: 1, id: 'm' + n, ...more });
const messages = (from: number, to: number): object[] => Array.from({ length: to - from + 1 }, (_, i) => message(from + i));
const shown = (): unknown[] => store.getSnapshot().messages.map(({ data }) => data);
const state = (): unknown[] => {
  const { loading, error, end } = store.getSnapshot();
  return [loading, (error as { code?: string } | undefined)?.code, end];
};
const asked = (): unknown[] => socket.ops('history').map(({ before, limit }) => [before, limit]);

async function greet(): Promise<void> {
  socket = FakeSocket.last;
  FakeSocket.serve = (to, op: Op) => {
    if (op.op === 'subscribe') to.say({ event: 'subscribed', ref: op.ref, channel: op.channel, state: op.since ? 'resumed' : 'fresh', cursor: op.since ?? 'm0' });
  };
  await socket.greet();
}

async function page(list: object[], more: object): Promise<void> {
  socket.answer('history', { event: 'history', channel: 'room', messages: list, ...more });
  await settle();
}

beforeEach(async () => {
  begin();
  dice(0.5);
  rt = new RealtimeClient({ clientId });
  rt.connect();
  await settle();
  await greet();
  changes = 0;
  store = historyStore(rt, 'room', 3);
  off = store.subscribe(() => changes++);
  await settle();
});

afterEach(async () => {
  off();
  rt.disconnect();
  await settle();
  mock.restoreAll();
});

test('it begins with the last page, goes on with what comes, and back as far as there is anything', async () => {
  assert.deepEqual([asked(), state()], [[[undefined, 3]], [true, undefined, undefined]]);
  socket.say(message(5), message(6));
  assert.deepEqual(shown(), [], 'what comes waits for the page it belongs after');
  await page(messages(3, 5), { before: 'm3' });
  assert.deepEqual(shown(), [3, 4, 5, 6], 'each once');
  socket.say(message(5), message(7), message(8, { ephemeral: true, id: undefined }));
  assert.deepEqual(shown(), [3, 4, 5, 6, 7], 'nothing of the page again, and nothing that is live only');
  store.more();
  store.more();
  await settle();
  assert.deepEqual([asked(), state()], [[[undefined, 3], ['m3', 3]], [true, undefined, undefined]]);
  socket.say(message(8));
  await page([], { before: 'm2' }); // of which a rule has hidden all
  assert.deepEqual([shown(), state()], [[3, 4, 5, 6, 7, 8], [false, undefined, undefined]]);
  store.more();
  await page(messages(1, 1), { end: 'start' });
  assert.deepEqual([shown(), state(), asked().at(-1)], [[1, 3, 4, 5, 6, 7, 8], [false, undefined, 'start'], ['m2', 3]]);
  store.more();
  await settle();
  assert.equal(asked().length, 3);
});

test('an empty channel has loaded', async () => {
  await page([], { end: 'start' });
  assert.deepEqual([shown(), state()], [[], [false, undefined, 'start']]);
  socket.say(message(1));
  assert.deepEqual(shown(), [1]);
});

test('after a reset it begins with the last page again, and what was asked before does not count', async () => {
  await page(messages(3, 5), { before: 'm3' });
  store.more();
  await settle();
  const { ref } = socket.ops('history').at(-1)!;
  socket.say({ event: 'reset', channel: 'room', reason: 'evicted', cursor: 'm20' }, { event: 'reset', channel: 'other', reason: 'evicted', cursor: 'm20' }, message(21));
  await settle();
  assert.deepEqual([shown(), asked().at(-1)], [[3, 4, 5], [undefined, 3]], 'it shows what there was until then');
  socket.say({ event: 'history', ref, channel: 'room', messages: messages(1, 2), end: 'start' });
  await settle();
  await page(messages(18, 20), { before: 'm18' });
  assert.deepEqual([shown(), state()], [[18, 19, 20, 21], [false, undefined, undefined]]);
});

test('a refusal is told, and more asks again', async () => {
  await page([], { event: 'error', code: 'forbidden', message: 'no', retry: false });
  assert.deepEqual(state(), [false, 'forbidden', undefined]);
  store.more();
  await settle();
  await page(messages(1, 2), { end: 'evicted' });
  assert.deepEqual([shown(), state()], [[1, 2], [false, undefined, 'evicted']]);
});

test('a client that was disconnected loads when it is back', async () => {
  rt.disconnect();
  await settle();
  assert.deepEqual(state(), [false, 'closing', undefined]);
  rt.connect();
  await settle();
  await greet();
  assert.deepEqual(state(), [true, undefined, undefined]);
  await page(messages(1, 2), { end: 'start' });
  assert.deepEqual(shown(), [1, 2]);
});

test('of what comes it keeps a thousand, and those of pages', async () => {
  await page(messages(1, 3), { end: 'start' });
  socket.say(...messages(4, 1003));
  assert.deepEqual([shown().length, shown()[0], state()[2]], [1003, 1, 'start']);
  socket.say(message(1004));
  assert.deepEqual([shown().length, shown()[0], state()[2]], [1003, 2, undefined], 'and there is something before it again');
  store.more();
  await settle();
  assert.deepEqual(asked().at(-1), ['m2', 3]);
  await page(messages(1, 1), { end: 'start' });
  socket.say(message(1005));
  assert.deepEqual([shown().length, shown()[0]], [1004, 2]);
});

test('a page that takes so long that more than a thousand come is asked for again', async () => {
  const { ref } = socket.ops('history')[0]!;
  socket.say(...messages(4, 1005));
  await settle();
  assert.equal(asked().length, 2);
  socket.say({ event: 'history', ref, channel: 'room', messages: messages(1, 3), end: 'start' });
  await page(messages(1003, 1005), { before: 'm1003' });
  assert.deepEqual(shown(), [1003, 1004, 1005]);
});

test('nothing is asked for while nobody listens, and all again when somebody does', async () => {
  await page(messages(1, 3), { before: 'm1' });
  off();
  await settle();
  const before = changes;
  store.more();
  rt.subscribe('room', () => {});
  await settle();
  socket.say(message(4));
  assert.deepEqual([asked().length, changes, shown()], [1, before, [1, 2, 3]]);
  off = store.subscribe(() => changes++);
  await settle();
  await page(messages(3, 5), { before: 'm3' });
  assert.deepEqual(shown(), [3, 4, 5]);
});

test('without a client it waits, and without the module it says what is missing', async () => {
  assert.deepEqual(historyStore(undefined, 'room').getSnapshot(), { messages: [], loading: true, error: undefined, end: undefined });
  const bare = { ...rt, history: undefined } as never;
  const other = historyStore(bare, 'room');
  const stop = other.subscribe(() => {});
  await settle();
  assert.match(other.getSnapshot().error!.message, /history/);
  stop();
  await pass(1);
});

test('useHistory shows it, with a way back that stays the same', async () => {
  const ways = new Set<unknown>();
  const seen: unknown[] = [];
  const Shown = ({ client }: { client: RealtimeClient | undefined }): null => {
    const { messages, loading, end, more } = useHistory(client, 'room', 3);
    if (client) ways.add(more);
    seen.push([messages.map(({ data }) => data), loading, end]);
    return null;
  };
  let root!: ReactTestRenderer;
  mock.method(console, 'error', () => {}); // the renderer is deprecated
  await act(async () => void (root = create(createElement(Shown, { client: undefined }))));
  await act(async () => root.update(createElement(Shown, { client: rt })));
  await act(() => page(messages(1, 2), { end: 'start' }));
  assert.deepEqual([seen[0], seen.at(-1)], [[[], true, undefined], [[1, 2], false, 'start']]);
  await act(async () => socket.say(message(3)));
  assert.deepEqual(seen.at(-1), [[1, 2, 3], false, 'start']);
  assert.equal(ways.size, 1);
  await act(async () => root.unmount());
});
