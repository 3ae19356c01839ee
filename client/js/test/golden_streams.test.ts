// The frames of testdata/wire.json that are about messages that grow.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RealtimeClient } from '../src/realtime.js';
import type { Stream } from '../src/stream.js';
import '../src/stream.js';
import { begin, FakeSocket, pass, settle, type Op } from './fakes.js';
import { clientId, wire } from './goldenkit.js';

/** A client that follows the stream of the golden frames, and what it has been told. */
async function follow(): Promise<{ rt: RealtimeClient; stream: Stream; say(name: string): Promise<void>; off(): void }> {
  begin();
  const rt = new RealtimeClient({ clientId });
  rt.connect();
  await settle();
  await FakeSocket.last.greet();
  const stream = rt.stream('room:42', 'a1');
  const off = stream.subscribe(() => {});
  const say = async (name: string): Promise<void> => {
    const frame = wire.server.find((one) => one.name === name)?.frame;
    assert.ok(frame, name);
    FakeSocket.last.onmessage!({ data: frame.replace('"ref":7', `"ref":${FakeSocket.last.ops('stream').at(-1)!.ref}`) });
    await settle();
  };
  return { rt, stream, say, off };
}

const back = async (): Promise<void> => {
  await FakeSocket.last.drop();
  await pass(1_000);
  await FakeSocket.last.greet();
};

test('client: what is said of streams', async () => {
  const { rt, stream, say, off } = await follow();
  const check = (op: string, name = op): void => {
    const want = JSON.parse(wire.stream.find((one) => one.name === name)!.frame) as Op;
    assert.deepEqual({ ...FakeSocket.last.ops(op).at(-1)!, ref: want.ref }, want);
  };
  check('stream');
  await say('stream');
  await say('stream.append');
  assert.deepEqual([stream.text, stream.metadata, stream.userId], ['Hello, wörld', { role: 'assistant' }, 'ada']);
  await back();
  check('stream', 'stream that goes on');
  FakeSocket.last.answer('stream', { event: 'stream', channel: 'room:42', id: 'a1', run: 'K3XW5M2PQ7RT', state: 'streaming', offset: 13, next: 13 });
  void stream.stop();
  check('stop');
  FakeSocket.last.answer('stop');
  off();
  await settle();
  check('unstream');
  assert.equal(wire.stream.length, 4, 'frames the SDK was not made to send');
  rt.disconnect();
});

const grown: [frames: string[], text: string, items: unknown[], state: string, code?: string][] = [
  [['stream empty'], '', [], 'streaming'],
  [['stream', 'stream.append', 'stream.end complete'], 'Hello, wörld', [], 'complete'],
  [['stream', 'stream.end cancelled'], 'Hello', [], 'cancelled'],
  [['stream', 'stream.end failed'], 'Hello', [], 'failed', 'internal'],
  [['stream', 'unstreamed'], 'Hello', [], 'failed', 'forbidden'],
  [['stream', 'unstreamed for a while', 'stream resumed'], 'Hello, wörld', [], 'streaming'],
  [['stream', 'cut', 'stream resumed', 'stream.end complete'], 'Hello, wörld', [], 'complete'],
  [['stream', 'cut', 'stream failed'], 'Hello', [], 'failed', 'unavailable'],
  [['stream complete'], 'Hello, wörld', [], 'complete'],
  [['stream failed'], '', [], 'failed', 'unavailable'],
  [['stream of JSON', 'stream.append of JSON'], '', [{ a: [1, 2] }, 'x', null], 'streaming'],
];
for (const [frames, text, items, state, code] of grown)
  test('streams: ' + frames.join(', '), async () => {
    const { rt, stream, say } = await follow();
    for (const name of frames) await (name === 'cut' ? back() : say(name));
    assert.deepEqual([stream.text, stream.items, stream.state, stream.error?.code], [text, items, state, code]);
    rt.disconnect();
  });

test('streams: all frames', () => {
  const played = new Set(grown.flatMap(([frames]) => frames));
  assert.deepEqual(wire.server.filter(({ name }) => /^(un)?stream/.test(name) && !played.has(name)), []);
});
