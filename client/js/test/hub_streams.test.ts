// Messages that grow: the server sends each once, as long as any tab follows it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Op } from './fakes.js';
import { alone, answer, hub, op, sent, told } from './hubkit.js';

const plain = ({ ref: _, cid: __, ...rest }: Op): object => rest;
const grow = (tab: string, what = 'stream'): void => op(tab, what, { id: 'a1' });
const grown = (more: object = {}): void => answer({ event: 'stream', channel: 'room', id: 'a1', state: 'streaming', ...more });
const ended = (event: string): void => hub.take_(JSON.stringify({ event, channel: 'room', id: 'a1' }));
const names = (): string[] => sent.map(({ op: name }) => name);

test('a stream is followed until nobody does', () => {
  grow('a');
  grown();
  grow('b');
  grow('a', 'unstream'); // before b has its answer
  grown();
  assert.deepEqual([names(), told.map(([to]) => to)], [['stream', 'stream'], ['a', 'a', 'b']]);
  hub.leave_('b');
  assert.deepEqual(plain(sent.at(-1)!), { op: 'unstream', channel: 'room', id: 'a1' });
});

test('who asks for a stream and goes before the answer', () => {
  grow('a');
  const { ref: asked } = sent.at(-1)!;
  hub.leave_('a');
  hub.take_(JSON.stringify({ event: 'stream', ref: asked, channel: 'room', id: 'a1', state: 'streaming' }));
  grow('b');
  grown();
  grow('b', 'unstream');
  assert.deepEqual(names(), ['stream', 'unstream', 'stream', 'unstream']);
});

test('a stream that has ended is not followed', () => {
  for (const event of ['stream.end', 'unstreamed']) {
    grow('a');
    grown();
    ended(event);
    hub.leave_('a');
    hub.add_('a', 'client of a');
  }
  grow('a');
  grown({ state: 'complete' });
  grow('a');
  answer({ event: 'error', code: 'not_found', retry: false });
  hub.leave_('a');
  assert.ok(!names().includes('unstream'));
});

test('what ends in between does not end who has asked since', () => {
  grow('a');
  grown();
  grow('b');
  ended('unstreamed');
  grown();
  hub.leave_('a');
  assert.ok(!names().includes('unstream'));
  hub.leave_('b');
  assert.equal(names().at(-1), 'unstream');
});

test('a refusal of one leaves the others', () => {
  grow('a');
  grown();
  grow('b');
  answer({ event: 'error', code: 'rate_limited', retry: true });
  grow('a', 'unstream');
  assert.equal(names().at(-1), 'unstream');
});

test('who finds no room for a stream has to have a connection of its own', () => {
  grow('a');
  answer({ event: 'error', code: 'too_many' });
  assert.deepEqual(alone, ['a']);
});
