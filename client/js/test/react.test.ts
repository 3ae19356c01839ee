import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { createElement, StrictMode, type ReactNode } from 'react';
import { act, create, type ReactTestRenderer } from 'react-test-renderer';
import { useChannel, useConnectionStatus, usePresence, useQuery, useRen, useStream } from '../src/react.js';
import { RealtimeClient } from '../src/realtime.js';
import { RenClient } from '../src/ren.js';
import '../src/stream.js';
import { begin, dice, FakeSocket, pass, settle } from './fakes.js';
import { Server } from './server.js';

interface Chat {
  text: string;
}

let server: Server;
let rt: RealtimeClient<{ 'room:{id}': Chat }, { 'room:{id}': { name: string } }>;
let ren: RenClient;
let shown: ReactTestRenderer | undefined;
let errors: unknown[];
Object.assign(globalThis, {
  IS_REACT_ACT_ENVIRONMENT: true,
  /** React's act() opens one for each call, and leaves it open, which keeps the process. */
  MessageChannel: class {
    port1 = { onmessage: () => {} };
    port2 = { postMessage: (): void => void setImmediate(() => this.port1.onmessage()) };
  },
});

beforeEach(async () => {
  begin();
  dice(0.5);
  server = new Server();
  server.install();
  errors = [];
  mock.method(console, 'error', (...e: unknown[]) => void (/deprecated/.test(String(e[0])) || errors.push(e)));
  rt = new RealtimeClient({ clientId: 'client-of-this-tab' });
  rt.connect();
  ren = new RenClient({ clientId: 'client-of-this-tab' });
  await settle();
});

afterEach(async () => {
  if (shown) await act(async () => shown!.unmount());
  rt.disconnect();
  ren.close();
  await settle();
  assert.deepEqual(errors, []);
  mock.restoreAll();
});

/** Shows what a hook gives, in StrictMode, which mounts everything twice. */
async function show<T>(hook: () => T): Promise<{ is: T; renders: number; again(next: () => T): Promise<void> }> {
  const result = { is: undefined as T, renders: 0, again: (next: () => T) => render(next) };
  let current = hook;
  const Shown = (): ReactNode => {
    result.is = current();
    result.renders++;
    return null;
  };
  const render = async (next: () => T): Promise<void> => {
    current = next;
    const element = createElement(StrictMode, null, createElement(Shown));
    await act(async () => {
      if (shown) shown.update(element);
      else shown = create(element);
      await settle();
    });
  };
  shown = undefined;
  await render(hook);
  return result;
}

const does = (what: () => void): Promise<void> => act(async () => (what(), settle()));
const ops = (op: string): unknown[] => FakeSocket.all[0]!.ops(op);

test('useConnectionStatus', async () => {
  const status = await show(() => useConnectionStatus(rt));
  assert.equal(status.is, 'open');
  await does(() => void FakeSocket.all[0]!.drop());
  assert.equal(status.is, 'connecting');
});

test('useChannel collects the last messages, by one subscription, and publishes', async () => {
  const chat = await show(() => useChannel(rt, 'room:42', 2));
  const before = chat.is;
  await does(() => void chat.is.publish({ text: 'a' }));
  assert.notEqual(chat.is, before);
  await does(() => ['b', 'c'].forEach((text) => server.publish('room:42', { text })));
  assert.deepEqual(chat.is.messages.map(({ data }) => data.text), ['b', 'c']);
  assert.equal(ops('subscribe').length, 1);
  await does(() => FakeSocket.all[0]!.say({ event: 'reset', channel: 'room:42', reason: 'evicted', cursor: 'e.9' }));
  assert.equal(chat.is.resets, 1);
  const { renders, is } = chat;
  await chat.again(() => useChannel(rt, 'room:42', 2));
  assert.equal(chat.is, is, 'nothing has changed');
  assert.ok(renders < 20);
  await chat.again(() => useChannel(rt, 'room:43', 2));
  assert.deepEqual([chat.is.messages, ops('unsubscribe').length], [[], 1]);
});

test('useChannel gives the same publish until the channel changes, as it belongs to what an effect depends on', async () => {
  const chat = await show(() => useChannel(rt, 'room:42'));
  const { publish } = chat.is;
  await does(() => server.publish('room:42', { text: 'a' }));
  assert.equal(chat.is.messages.length, 1);
  assert.equal(chat.is.publish, publish);
  await chat.again(() => useChannel(rt, 'room:43'));
  assert.notEqual(chat.is.publish, publish);
});

test('what is published without a client is refused, and may be ignored', async () => {
  const unhandled = mock.fn();
  process.on('unhandledRejection', unhandled);
  const chat = await show(() => useChannel(undefined, 'room:42'));
  void chat.is.publish({ text: 'a' });
  await settle();
  process.off('unhandledRejection', unhandled);
  assert.equal(unhandled.mock.callCount(), 0);
  await assert.rejects(chat.is.publish({ text: 'a' }), { name: 'RealtimeError', code: 'unavailable', retry: true });
});

test('useStream shows a stream as it grows, and stops it', async () => {
  const growing = server.grow('room:42', 'a1');
  server.write(growing, 'Hello');
  const answer = await show(() => useStream(rt, 'room:42', 'a1'));
  assert.deepEqual([answer.is.text, answer.is.state, ops('stream').length], ['Hello', 'streaming', 1]);
  const { renders, is } = answer;
  await answer.again(() => useStream(rt, 'room:42', 'a1'));
  assert.equal(answer.is, is, 'nothing has changed');
  assert.ok(answer.renders < renders + 5);
  await does(() => server.write(growing, ', wörld'));
  assert.deepEqual([answer.is.text, answer.is.stop === is.stop], ['Hello, wörld', true]);
  await does(() => void answer.is.stop());
  assert.deepEqual([answer.is.state, answer.is.error], ['cancelled', undefined]);
  // Another one, which there is not.
  await answer.again(() => useStream(rt, 'room:42', 'a2'));
  assert.deepEqual([answer.is.text, answer.is.state, answer.is.error?.code], ['', 'failed', 'not_found']);
  assert.deepEqual(ops('unstream'), []);
});

test('useStream follows while its component is shown', async () => {
  const growing = server.grow('room:42', 'a1');
  await show(() => useStream(rt, 'room:42', 'a1'));
  assert.equal(server.followed(growing), 1);
  await act(async () => shown!.unmount());
  shown = undefined;
  await settle();
  assert.deepEqual([server.followed(growing), ops('stop')], [0, []]);
});

test('usePresence joins once in StrictMode, follows the metadata, and leaves', async () => {
  const room = await show(() => usePresence(rt, 'room:42', { userId: 'ada', metadata: { name: 'Ada' } }));
  const state = (...userIds: string[]): object => ({
    event: 'presence.state', channel: 'room:42', cursor: 'e.0', members: userIds.map((userId) => ({ userId, metadata: { name: userId }, lastSeen: 1 })),
  });
  await does(() => FakeSocket.all[0]!.say(state('ada', 'bob')));
  assert.deepEqual(room.is.members.map(({ userId }) => userId), ['ada', 'bob']);
  await does(() => FakeSocket.all[0]!.say({ event: 'presence.leave', channel: 'room:42', userId: 'bob', ts: 2, id: 'e.1' }));
  assert.deepEqual(room.is.members.map(({ userId }) => userId), ['ada']);
  const joins = ops('join').length;
  assert.equal(joins, 1, 'StrictMode mounts twice');
  await room.again(() => usePresence(rt, 'room:42', { userId: 'ada', metadata: { name: 'Ada' } }));
  assert.equal(ops('join').length, joins, 'the same metadata');
  await room.again(() => usePresence(rt, 'room:42', { userId: 'ada', metadata: { name: 'Countess' } }));
  assert.deepEqual(FakeSocket.all[0]!.ops('join').at(-1)!['metadata'], { name: 'Countess' });
  assert.equal(ops('leave').length, 0);
  await room.again(() => usePresence(rt, 'room:42'));
  assert.equal(ops('leave').length, 1);
});

test('usePresence tells of a refusal', async () => {
  server.answers = false;
  const room = await show(() => usePresence(rt, 'room:42', { userId: 'eve' }));
  await does(() => FakeSocket.all[0]!.answer('join', { event: 'error', code: 'forbidden', message: 'no', retry: false }));
  if (!room.is.error) await does(() => FakeSocket.all[0]!.answer('join', { event: 'error', code: 'forbidden', message: 'no', retry: false }));
  assert.equal((room.is.error as { code?: string } | undefined)?.code, 'forbidden');
});

test('usePresence says nothing of the refusal of who one no longer is', async () => {
  server.answers = false;
  const room = await show(() => usePresence(rt, 'room:42', { userId: 'eve' }));
  await room.again(() => usePresence(rt, 'room:43', { userId: 'eve' }));
  const refuse = (): void => FakeSocket.all[0]!.answer('join', { event: 'error', code: 'forbidden', message: 'no', retry: false });
  assert.deepEqual(ops('join').map((op) => (op as { channel: string }).channel), ['room:42', 'room:43']);
  FakeSocket.all[0]!.say({ event: 'error', ref: (ops('join')[0] as { ref: number }).ref, code: 'forbidden', message: 'no', retry: false });
  await does(() => {});
  assert.equal(room.is.error, undefined);
  await does(refuse);
  assert.equal((room.is.error as { code?: string } | undefined)?.code, 'forbidden');
});

test('useRen counts what matches, by the latest match', async () => {
  const news = await show(() => useRen(ren, (event) => event.ch === 'a'));
  await does(() => ['a', 'b'].forEach((channel) => server.publish(channel, channel)));
  assert.deepEqual([news.is.version, news.is.event?.ch], [1, 'a']);
  await news.again(() => useRen(ren, (event) => event.ch === 'b'));
  await does(() => ['a', 'b'].forEach((channel) => server.publish(channel, channel)));
  assert.deepEqual([news.is.version, news.is.event?.ch], [2, 'b']);
});

test('without a client, as on a server that renders, the hooks say what there is at first', async () => {
  const all = await show(() => [
    useConnectionStatus(undefined), useRen(undefined).version, useChannel(undefined, 'room:1').messages,
    usePresence(undefined, 'room:1', {}).members, useStream(undefined, 'room:1', 'a1').state,
  ]);
  assert.deepEqual(all.is, ['connecting', 0, [], [], 'streaming']);
});

test('useQuery loads for its key, follows the events, and always calls the functions of the last render', async () => {
  const loads: string[] = [];
  const query = (key: string) => () =>
    useQuery<string[]>(ren, key, { load: () => (loads.push(key), Promise.resolve([key])), apply: (all, event) => [...all, String(event.data)] });
  const shown = await show(query('a'));
  assert.deepEqual([shown.is.data, shown.is.loading], [undefined, true]);
  await act(() => pass(10));
  assert.deepEqual([shown.is.data, shown.is.loading, loads], [['a'], false, ['a']]);
  await act(async () => server.publish('room', 1));
  await act(() => pass(10));
  assert.deepEqual(shown.is.data, ['a', '1']);
  await shown.again(query('b'));
  assert.equal(shown.is.data, undefined, 'what belongs to another key is not shown');
  await act(() => pass(10));
  assert.deepEqual([shown.is.data, loads], [['b'], ['a', 'b']]);
  await act(async () => shown.is.reload());
  await act(() => pass(10));
  assert.deepEqual(loads, ['a', 'b', 'b']);
});
