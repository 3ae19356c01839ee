// Messages that grow, on one connection after the other.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { RealtimeClient } from '../src/realtime.js';
import '../src/stream.js';
import type { Stream } from '../src/stream.js';
import { begin, dice, FakeSocket, pass, settle, type Op } from './fakes.js';

let rt: RealtimeClient;
let errors: unknown[];

beforeEach(() => {
  begin();
  dice(0.5);
  errors = [];
  rt = new RealtimeClient({ clientId: 'browserbrowser.tab1' });
  rt.onError((error) => void errors.push(error));
});

afterEach(async () => {
  rt.disconnect();
  await settle();
  mock.restoreAll();
});

async function connect(): Promise<FakeSocket> {
  rt.connect();
  await settle();
  await FakeSocket.last.greet();
  return FakeSocket.last;
}

/** Comes back after a lost connection. */
async function back(): Promise<FakeSocket> {
  await pass(15_000);
  await FakeSocket.last.greet();
  return FakeSocket.last;
}

/** Loops over a stream, and keeps what it is given and how it ended. */
function read<Item>(stream: Stream<Item>): { got: unknown[]; end: unknown } {
  const loop = { got: [] as unknown[], end: undefined as unknown };
  void (async () => {
    try {
      for await (const content of stream) loop.got.push(content);
      loop.end = stream.state;
    } catch (e) {
      loop.end = e;
    }
  })();
  return loop;
}

const codeOf = ({ end }: { end: unknown }): unknown => (end as { code?: string } | undefined)?.code;
const room = { channel: 'room', id: 'a1' };
const plain = (op: Op | undefined): object => {
  const { ref: _, ...rest } = op!;
  return rest;
};
const sent = (socket: FakeSocket): unknown[] => socket.sent.filter(({ op }) => op !== 'hello').map(plain);
/** The server answers who follows. */
const answer = async (socket: FakeSocket, more: object): Promise<void> => {
  const { ref } = socket.ops('stream').at(-1)!;
  socket.say({ event: 'stream', ref, ...room, run: 'r1', state: 'streaming', ts: 1, offset: 0, ...more });
  await settle();
};
const append = (offset: number, text: string, next: number): object => ({ event: 'stream.append', ...room, offset, text, next });
const end = (state: string, next: number, more: object = {}): object => ({ event: 'stream.end', ...room, state, ts: 2, next, ...more });
const refuse = async (socket: FakeSocket, op: string, code: string, retry = false): Promise<void> => {
  socket.answer(op, { event: 'error', code, message: 'no', retry });
  await settle();
};

test('a loop is given all of the text each time that it has grown, and ends with the stream', async () => {
  const socket = await connect();
  const stream = rt.stream('room', 'a1');
  assert.deepEqual([stream.text, stream.state, sent(socket)], ['', 'streaming', []]);
  const loop = read(stream);
  await settle();
  assert.deepEqual(sent(socket), [{ op: 'stream', ...room }]);
  await answer(socket, { text: 'Hello', next: 5, metadata: { role: 'assistant' }, userId: 'ada' });
  assert.deepEqual([stream.metadata, stream.userId], [{ role: 'assistant' }, 'ada']);
  socket.say(append(5, ', wörld', 13));
  await settle();
  socket.say(append(13, '!', 14));
  await settle();
  assert.deepEqual([stream.text, stream.state, loop.end], ['Hello, wörld!', 'streaming', undefined]);
  socket.say(end('complete', 14));
  await settle();
  assert.deepEqual(loop, { got: ['Hello', 'Hello, wörld', 'Hello, wörld!'], end: 'complete' });
  assert.deepEqual([sent(socket).length, errors], [1, []], 'the server knows that it is over');
});

test('who is slow is given the newest', async () => {
  const socket = await connect();
  const stream = rt.stream('room', 'a1');
  const loop = stream[Symbol.asyncIterator]();
  const first = loop.next();
  await settle();
  await answer(socket, { text: 'a', next: 1 });
  assert.deepEqual(await first, { done: false, value: 'a' });
  for (let n = 1; n < 50; n++) socket.say(append(n, 'b', n + 1));
  socket.say(end('complete', 50));
  assert.deepEqual(await loop.next(), { done: false, value: 'a' + 'b'.repeat(49) });
  assert.deepEqual(await loop.next(), { done: true, value: undefined });
});

test('a stream that had ended', async () => {
  const socket = await connect();
  const loop = read(rt.stream('room', 'a1'));
  await settle();
  await answer(socket, { text: 'all of it', next: 9, state: 'cancelled' });
  assert.deepEqual(loop, { got: ['all of it'], end: 'cancelled' });
  const empty = read(rt.stream('room', 'a1'));
  await settle();
  await answer(socket, { next: 0, state: 'complete' });
  assert.deepEqual(empty, { got: [], end: 'complete' });
});

test('a failure is thrown', async () => {
  const socket = await connect();
  const stream = rt.stream('room', 'a1');
  const loop = read(stream);
  await settle();
  await answer(socket, { text: 'so far', next: 6 });
  socket.say(end('failed', 6, { error: { code: 'overloaded', message: 'too much', retry: true } }));
  await settle();
  assert.deepEqual([loop.got, stream.text, stream.state], [['so far'], 'so far', 'failed']);
  assert.equal(loop.end, stream.error);
  const { name, code, message, retry } = stream.error!;
  assert.deepEqual([name, code, message, retry], ['RealtimeError', 'overloaded', 'too much', true]);
  // One that says nothing of why, and one that ended before.
  const silent = read(rt.stream('room', 'a1'));
  await settle();
  await answer(socket, { next: 0, state: 'failed' });
  assert.equal(codeOf(silent), 'internal');
  assert.deepEqual(read(stream), { got: [], end: undefined });
  await settle();
  assert.equal(socket.ops('stream').length, 2, 'who has it all asks for nothing');
});

test('a refusal is thrown', async () => {
  const socket = await connect();
  for (const code of ['not_found', 'forbidden', 'too_many']) {
    const loop = read(rt.stream('room', 'a1'));
    await settle();
    await refuse(socket, 'stream', code);
    assert.equal(codeOf(loop), code);
  }
  await settle();
  assert.deepEqual([errors, socket.ops('unstream')], [[], []]);
});

test('one for the moment is not', async () => {
  const socket = await connect();
  const loop = read(rt.stream('room', 'a1'));
  await settle();
  await refuse(socket, 'stream', 'unavailable', true);
  await pass(3_000);
  assert.equal(socket.ops('stream').length, 2);
  await answer(socket, { text: 'x', next: 1 });
  assert.deepEqual(loop, { got: ['x'], end: undefined });
});

test('after a lost connection it goes on where it was', async () => {
  await connect();
  const loop = read(rt.stream('room', 'a1'));
  await settle();
  await answer(FakeSocket.last, { text: 'Hello', next: 5 });
  await FakeSocket.last.drop();
  let socket = await back();
  assert.deepEqual(sent(socket), [{ op: 'stream', ...room, run: 'r1', offset: 5 }]);
  await answer(socket, { offset: 5, text: ', world', next: 12 });
  // Nothing has come meanwhile.
  await socket.drop();
  socket = await back();
  await answer(socket, { offset: 12, next: 12 });
  socket.say(append(12, '!', 13));
  await settle();
  // The server says all of it.
  await socket.drop();
  socket = await back();
  await answer(socket, { text: 'Hello, world! Bye', next: 17 });
  // It has ended meanwhile, and the server remembers only that.
  await socket.drop();
  socket = await back();
  await answer(socket, { text: 'Hello', next: 17, state: 'complete', partial: true });
  assert.deepEqual(loop, { got: ['Hello', 'Hello, world', 'Hello, world!', 'Hello, world! Bye'], end: 'complete' });
});

test('another run with the same id replaces it', async () => {
  await connect();
  const stream = rt.stream('room', 'a1');
  const loop = read(stream);
  await settle();
  await answer(FakeSocket.last, { text: 'old', next: 3 });
  await FakeSocket.last.drop();
  const socket = await back();
  await answer(socket, { run: 'r2', next: 0 });
  socket.say(append(0, 'new', 3));
  await settle();
  assert.deepEqual([loop.got, stream.text], [['old', '', 'new'], 'new']);
});

test('what the server no longer has', async () => {
  const socket = await connect();
  const stream = rt.stream('room', 'a1');
  const loop = read(stream);
  await settle();
  await answer(socket, { next: 900_000, state: 'complete', partial: true });
  assert.deepEqual([loop, stream.partial], [{ got: [], end: 'complete' }, true]);
  const gone = rt.stream('room', 'a2');
  const lost = read(gone);
  await settle();
  await answer(socket, { text: 'kept', next: 4, id: 'a2' });
  await socket.drop();
  const next = await back();
  await refuse(next, 'stream', 'not_found');
  assert.deepEqual([lost.got, codeOf(lost), gone.text], [['kept'], 'not_found', 'kept']);
});

test('a connection that is lost before the answer', async () => {
  await connect();
  const loop = read(rt.stream('room', 'a1'));
  await settle();
  await FakeSocket.last.drop();
  const socket = await back();
  assert.deepEqual(sent(socket), [{ op: 'stream', ...room }]);
  await answer(socket, { text: 'x', next: 1 });
  assert.deepEqual(loop.got, ['x']);
});

test('it waits for a connection, also after a disconnect, and ends with a client that has ended', async () => {
  const stream = rt.stream('room', 'a1');
  const loop = read(stream);
  await settle();
  await connect();
  await answer(FakeSocket.last, { text: 'x', next: 1 });
  rt.disconnect();
  await settle();
  assert.equal(loop.end, undefined);
  const socket = await connect();
  assert.deepEqual(sent(socket), [{ op: 'stream', ...room, run: 'r1', offset: 1 }]);
  await answer(socket, { offset: 1, next: 1 });
  await socket.drop(4403);
  assert.equal(codeOf(loop), 'forbidden');
  const late = read(rt.stream('room', 'a2'));
  await settle();
  assert.equal(codeOf(late), 'forbidden');
  assert.equal((errors[0] as { code: string }).code, 'forbidden');
});

test('to end a loop is no stop', async () => {
  const socket = await connect();
  const stream = rt.stream('room', 'a1');
  const seen: string[] = [];
  const over = (async () => {
    for await (const text of stream) {
      seen.push(text);
      break;
    }
  })();
  await settle();
  await answer(socket, { text: 'x', next: 1 });
  await over;
  await settle();
  assert.deepEqual(sent(socket).at(-1), { op: 'unstream', ...room });
  socket.answer('unstream');
  socket.say(append(1, 'y', 2)); // was on its way
  await settle();
  assert.deepEqual([stream.text, stream.state, socket.ops('stop')], ['x', 'streaming', []]);
  // Who goes on has the rest only sent.
  const loop = read(stream);
  await settle();
  assert.deepEqual(sent(socket).at(-1), { op: 'stream', ...room, run: 'r1', offset: 1 });
  await answer(socket, { offset: 1, text: 'yz', next: 3 });
  assert.deepEqual(loop.got, ['x', 'xyz']);
});

test('all who follow it on a client do so once', async () => {
  const socket = await connect();
  const [one, other] = [rt.stream('room', 'a1'), rt.stream('room', 'a1')];
  const loop = read(one);
  let changes = 0;
  const off = other.subscribe(() => changes++);
  await settle();
  await answer(socket, { text: 'x', next: 1 });
  assert.deepEqual([sent(socket).length, other.text, changes], [1, 'x', 1]);
  off();
  const again = other.subscribe(() => changes++);
  await settle();
  again();
  await settle();
  assert.equal(sent(socket).length, 1, 'the other one still follows, and who begins again has not ended');
  socket.say(append(1, 'y', 2), end('complete', 2));
  await settle();
  assert.deepEqual([loop.got.at(-1), loop.end, changes], ['xy', 'complete', 1]);
});

test('who stops listening only to begin again has not left', async () => {
  const socket = await connect();
  const stream = rt.stream('room', 'a1');
  const off = stream.subscribe(() => {});
  await settle();
  await answer(socket, { text: 'x', next: 1 });
  off();
  stream.subscribe(() => {});
  await settle();
  assert.deepEqual(socket.ops('unstream'), []);
});

test('who leaves before the answer, and comes again, is told once', async () => {
  const socket = await connect();
  const stream = rt.stream('room', 'a1');
  stream.subscribe(() => {})();
  await settle();
  const loop = read(stream);
  await settle();
  assert.equal(sent(socket).length, 1, 'one question at a time');
  await answer(socket, { text: 'x', next: 1 });
  assert.deepEqual([loop.got, sent(socket).length], [['x'], 1]);
});

test('what does not fit is asked for again, all of it', async () => {
  const socket = await connect();
  const stream = rt.stream('room', 'a1');
  const loop = read(stream);
  await settle();
  await answer(socket, { text: 'ab', next: 2 });
  socket.say(append(4, 'e', 5), append(5, 'f', 6));
  await settle();
  assert.deepEqual(sent(socket).slice(1), [{ op: 'stream', ...room }]);
  await answer(socket, { text: 'abcdef', next: 6 });
  socket.say(end('complete', 7));
  await settle();
  await answer(socket, { text: 'abcdefg', next: 7, state: 'complete' });
  assert.deepEqual(loop, { got: ['ab', 'abcdef', 'abcdefg'], end: 'complete' });
});

test('a right that ends, and one that cannot be asked about', async () => {
  const socket = await connect();
  const loop = read(rt.stream('room', 'a1'));
  await settle();
  await answer(socket, { text: 'x', next: 1 });
  socket.say({ event: 'unstreamed', ...room, code: 'unavailable', message: 'later', retry: true });
  await settle();
  assert.deepEqual(sent(socket).at(-1), { op: 'stream', ...room, run: 'r1', offset: 1 });
  await answer(socket, { offset: 1, text: 'y', next: 2 });
  socket.say({ event: 'unstreamed', ...room, code: 'forbidden', message: 'no', retry: false });
  await settle();
  assert.deepEqual([loop.got, codeOf(loop)], [['x', 'xy'], 'forbidden']);
  assert.deepEqual(errors, [], 'the loop is told');
});

test('JSON values', async () => {
  const socket = await connect();
  const stream = rt.stream<{ n: number }>('room', 'a1');
  const loop = read(stream);
  await settle();
  await answer(socket, { items: [{ n: 1 }], next: 7 });
  const before = stream.items;
  socket.say({ event: 'stream.append', ...room, offset: 7, items: [{ n: 2 }, { n: 3 }], next: 21 }, end('complete', 21));
  await settle();
  assert.deepEqual([before, stream.items, stream.text], [[{ n: 1 }], [{ n: 1 }, { n: 2 }, { n: 3 }], '']);
  assert.deepEqual(loop, { got: [before, stream.items], end: 'complete' });
});

test('a stop is a wish, of anybody, that outlives the connection', async () => {
  await connect();
  const stream = rt.stream('room', 'a1');
  const stopped = stream.stop();
  assert.deepEqual(sent(FakeSocket.last), [{ op: 'stop', ...room }]);
  await FakeSocket.last.drop();
  const socket = await back();
  socket.answer('stop');
  await stopped;
  assert.deepEqual([sent(socket), stream.state], [[{ op: 'stop', ...room }], 'streaming'], 'who does not follow it is not told');
  const refused = stream.stop();
  await refuse(socket, 'stop', 'forbidden');
  await assert.rejects(refused, { code: 'forbidden' });
  void stream.stop(); // and may be ignored
  await refuse(socket, 'stop', 'forbidden');
  const loop = read(stream);
  await settle();
  await answer(socket, { text: 'x', next: 1 });
  const last = stream.stop();
  socket.answer('stop');
  await last;
  socket.say(end('cancelled', 1));
  await settle();
  assert.deepEqual(loop, { got: ['x'], end: 'cancelled' });
  rt.disconnect();
  await settle();
  await assert.rejects(stream.stop(), { code: 'closing' });
});

test('the channel it is in goes on beside it', async () => {
  const socket = await connect();
  const told: unknown[] = [];
  rt.subscribe('room', ({ data, stream, state }) => void told.push([data, stream, state]));
  rt.onAny(({ event }) => void told.push(event));
  rt.presence('room').onJoin(({ userId }) => void told.push(userId));
  const loop = read(rt.stream('room', 'a1'));
  await settle();
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c1' });
  await settle();
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed' });
  await answer(socket, { text: 'x', next: 1 });
  socket.say(
    { event: 'message', channel: 'room', data: 1, ts: 1, id: 'c2', stream: 'a1', state: 'complete' },
    append(1, 'y', 2), end('complete', 2),
  );
  socket.say({ event: 'stream', ref: 999, ...room, run: 'r1', state: 'streaming', offset: 0, next: 0 }); // nobody's
  await settle();
  assert.deepEqual([told, loop.got.at(-1), loop.end], [[[1, 'a1', 'complete'], 'message'], 'xy', 'complete']);
  await socket.drop();
  assert.deepEqual((await back()).ops('subscribe').map(({ since }) => since), ['c2']);
});

test('what listeners do while they are told', async () => {
  const socket = await connect();
  const stream = rt.stream('room', 'a1');
  const off = stream.subscribe(() => {
    off();
    if (stream.state === 'complete') stream.subscribe(() => assert.fail('it is over'));
  });
  await settle();
  await answer(socket, { text: 'x', next: 1, state: 'complete' });
  await settle();
  assert.deepEqual([sent(socket).length, stream.text], [1, 'x']);
});
