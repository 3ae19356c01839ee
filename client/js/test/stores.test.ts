import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { RealtimeClient } from '../src/realtime.js';
import { RenClient } from '../src/ren.js';
import { channelStore, presenceStore, renStore, streamStore } from '../src/stores.js';
import { begin, dice, FakeSocket, pass, requests, settle } from './fakes.js';
import { Server } from './server.js';

let server: Server;

beforeEach(() => {
  begin();
  dice(0.5);
  server = new Server();
  server.install();
});

test('renStore has everything read again when the client opens for the first time, and not when it comes back', async () => {
  const ren = new RenClient({ clientId: 'client-of-this-tab' });
  const store = renStore(ren);
  const seen: number[] = [];
  const off = store.subscribe(() => seen.push(store.getSnapshot().version));
  assert.equal(store.getSnapshot().version, 0);
  await settle();
  assert.equal(ren.state, 'open');
  assert.deepEqual(seen, [1], 'what was written since the first reading, nobody has told');
  assert.equal(store.getSnapshot().event, undefined);
  server.bye();
  await pass(2_000);
  assert.equal(ren.state, 'open');
  assert.equal(requests.length, 2);
  assert.deepEqual(seen, [1], 'the stream has been resumed');
  off();
  ren.close();
});

test('renStore of a client that is open says nothing of it', async () => {
  const ren = new RenClient({ clientId: 'client-of-this-tab' });
  await settle();
  const store = renStore(ren);
  const off = store.subscribe(() => {});
  server.bye();
  await pass(2_000);
  assert.equal(ren.state, 'open');
  assert.equal(store.getSnapshot().version, 0);
  off();
  ren.close();
});

test('presenceStore joins once for all who join alike at once', async () => {
  const rt = new RealtimeClient({ clientId: 'client-of-this-tab' });
  rt.connect();
  await settle();
  const [one, other] = [presenceStore(rt, 'room:1'), presenceStore(rt, 'room:1')];
  const joins = (): unknown[] => FakeSocket.all[0]!.ops('join').map(({ metadata }) => metadata);
  one.join('ada', { name: 'Ada' })();
  const leave = one.join('ada', { name: 'Ada' });
  const leaveToo = other.join('ada', { name: 'Ada' });
  await settle();
  assert.deepEqual(joins(), [{ name: 'Ada' }]);
  one.join('ada', { name: 'Countess' })();
  await settle();
  one.join('ada', { name: 'Countess' })();
  await settle();
  assert.equal(joins().length, 3, 'later, and as somebody else');
  leave();
  await settle();
  assert.equal(FakeSocket.all[0]!.ops('leave').length, 0);
  leaveToo();
  await settle();
  assert.equal(FakeSocket.all[0]!.ops('leave').length, 1);
  rt.disconnect();
});

test('presenceStore tells all who join alike at once of the refusal, even of metadata that is no JSON', async () => {
  const rt = new RealtimeClient({ clientId: 'client-of-this-tab' });
  rt.connect();
  await settle();
  server.answers = false;
  const store = presenceStore(rt, 'room:1');
  const failed: string[] = [];
  for (const name of ['a', 'b']) store.join('eve', undefined, () => failed.push(name));
  await settle();
  FakeSocket.all[0]!.answer('join', { event: 'error', code: 'forbidden', message: 'no', retry: false });
  await settle();
  assert.deepEqual(failed, ['a', 'b']);
  store.join('eve', 1n, (error) => failed.push(error.name));
  await settle();
  assert.deepEqual(failed, ['a', 'b', 'TypeError']);
  rt.disconnect();
});

/** A client that is connected, whose operations the test answers. */
async function connected(): Promise<[RealtimeClient, FakeSocket]> {
  const rt = new RealtimeClient({ clientId: 'client-of-this-tab' });
  rt.connect();
  await settle();
  server.answers = false;
  return [rt, FakeSocket.last];
}

test('presenceStore has no ghosts when it is listened to again', async () => {
  const [rt, socket] = await connected();
  const store = presenceStore(rt, 'room');
  const off = store.subscribe(() => {});
  await settle();
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  socket.say({ event: 'presence.state', channel: 'room', members: [{ userId: 'ada', lastSeen: 1 }], cursor: 'c1' });
  await settle();
  assert.deepEqual(store.getSnapshot().map(({ userId }) => userId), ['ada']);
  off();
  await settle();
  socket.answer('unsubscribe');
  await settle();
  const end = store.subscribe(() => {});
  await settle();
  assert.deepEqual(store.getSnapshot(), []);
  end();
  rt.disconnect();
});

test('presenceStore tells of a whole roster at once', async () => {
  const [rt, socket] = await connected();
  const store = presenceStore(rt, 'room');
  let calls = 0;
  const off = store.subscribe(() => void calls++);
  await settle();
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  const members = Array.from({ length: 10_000 }, (_, i) => ({ userId: 'u' + i, lastSeen: 1 }));
  socket.say({ event: 'presence.state', channel: 'room', members, cursor: 'c1' });
  await settle();
  assert.deepEqual([calls, store.getSnapshot().length], [1, 10_000]);
  off();
  rt.disconnect();
});

test('channelStore with a limit of 0 keeps nothing', async () => {
  const [rt, socket] = await connected();
  const store = channelStore(rt, 'room', 0);
  const off = store.subscribe(() => {});
  await settle();
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  for (let i = 0; i < 5; i++) socket.say({ event: 'message', channel: 'room', data: i, id: 'c' + i });
  assert.deepEqual(store.getSnapshot().messages, []);
  off();
  rt.disconnect();
});

test('channelStore leaves out what is live only', async () => {
  const rt = new RealtimeClient({ clientId: 'client-of-this-tab' });
  rt.connect();
  const store = channelStore(rt, 'room', 3);
  const off = store.subscribe(() => {});
  await settle();
  for (let n = 1; n <= 5; n++)
    FakeSocket.last.say({ event: 'message', channel: 'room', data: n, id: 'c' + n }, { event: 'message', channel: 'room', data: 'typing', ephemeral: true });
  assert.deepEqual(store.getSnapshot().messages.map(({ data }) => data), [3, 4, 5]);
  off();
  rt.disconnect();
});

test('renStore and channelStore tell those who listen again of the gap', async () => {
  const rt = new RealtimeClient({ clientId: 'client-of-this-tab' });
  rt.connect();
  const ren = new RenClient({ clientId: 'client-of-this-tab' });
  await settle();
  const [news, room] = [renStore(ren), channelStore(rt, 'room')];
  const told = (): number[] => [news.getSnapshot().version, room.getSnapshot().resets];
  const listen = (): (() => void) => {
    const offs = [news.subscribe(() => {}), room.subscribe(() => {})];
    return () => offs.forEach((off) => off());
  };
  listen()();
  const off = listen();
  await settle();
  assert.deepEqual(told(), [0, 0], 'as in StrictMode, there was no gap');
  off();
  await settle();
  server.publish('room', 'nobody hears it');
  await settle();
  const end = listen();
  await settle();
  assert.deepEqual(told(), [1, 1]);
  end();
  rt.disconnect();
  ren.close();
});

test('presenceStore counts twice leaving once', async () => {
  const rt = new RealtimeClient({ clientId: 'client-of-this-tab' });
  rt.connect();
  await settle();
  const store = presenceStore(rt, 'room:1');
  const leaves = (): number => FakeSocket.all[0]!.ops('leave').length;
  const [one, other] = [store.join('ada'), store.join('ada')];
  one();
  one();
  await settle();
  assert.equal(leaves(), 0, 'the other is there');
  other();
  await settle();
  assert.equal(leaves(), 1);
  rt.disconnect();
});

test('streamStore needs the module, and says so', async () => {
  const rt = new RealtimeClient({ clientId: 'client-of-this-tab' });
  assert.throws(() => streamStore(rt, 'room', 'a1'), { name: 'RealtimeError', code: 'unsupported' });
  const none = streamStore(undefined, 'room', 'a1');
  assert.deepEqual(none.getSnapshot(), { text: '', items: [], state: 'streaming', error: undefined, partial: false, metadata: undefined });
  await assert.rejects(none.stop(), { code: 'unavailable' });
});
