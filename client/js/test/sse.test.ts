import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { createParser, type StreamEvent } from '../src/sse.js';

function read(...chunks: (string | Uint8Array)[]): StreamEvent[] {
  const events: StreamEvent[] = [];
  const parser = createParser((event) => events.push(event));
  for (const chunk of chunks) parser(typeof chunk === 'string' ? new TextEncoder().encode(chunk) : chunk);
  return events;
}

const event = (data: string, more: Partial<StreamEvent> = {}): StreamEvent => ({ event: 'message', id: '', data, retry: undefined, ...more });

const cases: [string, string, StreamEvent[]][] = [
  ['LF', 'data: a\n\n', [event('a')]],
  ['CR', 'data: a\r\rdata: b\r\r', [event('a'), event('b')]],
  ['CRLF', 'data: a\r\n\r\n', [event('a')]],
  ['mixed line ends', 'data: a\rdata: b\r\ndata: c\n\n', [event('a\nb\nc')]],
  ['byte order mark', '\uFEFFdata: a\n\n', [event('a')]],
  ['only the first byte order mark', '\uFEFF\uFEFFdata: a\n\ndata: b\n\n', [event('b')]],
  ['no space', 'data:a\n\n', [event('a')]],
  ['one space only', 'data:  a\n\n', [event(' a')]],
  ['no colon', 'data\n\n', [event('')]],
  ['two empty lines of data', 'data\ndata\n\n', [event('\n')]],
  ['comment', ': hello\n:\ndata: a\n\n', [event('a')]],
  ['unknown field', 'date: a\nDATA: b\n\n', []],
  ['name', 'event: x\ndata: a\n\ndata: b\n\n', [event('a', { event: 'x' }), event('b')]],
  ['name without data', 'event: x\n\ndata: b\n\n', [event('b')]],
  ['id stays', 'id: 1\ndata: a\n\ndata: b\n\n', [event('a', { id: '1' }), event('b', { id: '1' })]],
  ['id without data counts', 'id: 1\n\ndata: b\n\n', [event('b', { id: '1' })]],
  ['id with NUL is ignored', 'id: 1\nid: 2\0\ndata: a\n\n', [event('a', { id: '1' })]],
  ['empty id', 'id: 1\nid\ndata: a\n\n', [event('a')]],
  ['retry', 'retry: 1500\n\ndata: a\n\ndata: b\n\n', [event('a', { retry: 1500 }), event('b', { retry: 1500 })]],
  ['retry of digits only', 'retry: 1.5\nretry: -1\nretry: x\nretry:\nretry: 0x5\ndata: a\n\n', [event('a')]],
  ['value with colons', 'data: a:b: c\n\n', [event('a:b: c')]],
  ['unfinished', 'data: a\n', []],
  ['line separators of Unicode are text', 'data: a\u2028b\u2029c\u0085d\n\n', [event('a\u2028b\u2029c\u0085d')]],
  ['NUL is text', 'data: a\0b\n\n', [event('a\0b')]],
  ['many empty lines', '\n\n\r\n\r\n\rdata: a\n\n\n', [event('a')]],
];

for (const [name, text, want] of cases) test('events: ' + name, () => assert.deepEqual(read(text), want));

test('events do not depend on where the bytes are cut', () => {
  const text = '\uFEFFretry: 9\r\n\r\nid: 1\r\nevent: ren.hello\r\ndata: {"ä":"€😀"}\r\n\r\nid: 2\rdata: a\rdata: b\r\rdata: c\n\n: x\n\ndata\n\n';
  const bytes = new TextEncoder().encode(text);
  const want = read(text);
  assert.equal(want.length, 4);
  for (let i = 0; i <= bytes.length; i++) {
    for (let j = i; j <= bytes.length; j++) {
      assert.deepEqual(read(bytes.slice(0, i), bytes.slice(i, j), bytes.slice(j)), want, `cut at ${i} and ${j}`);
    }
  }
  assert.deepEqual(read(...Array.from(bytes, (byte) => Uint8Array.of(byte))), want);
});

test('an endless event is refused, whether of one line or many', () => {
  const line = 'x'.repeat(1 << 20);
  assert.throws(() => read(...Array<string>(9).fill(line)), TypeError);
  assert.throws(() => read(...Array<string>(9).fill(`data: ${line}\n`)), TypeError);
  assert.equal(read('data: ', ...Array<string>(6).fill(line), '\n\n')[0]?.data.length, 6 << 20);
});

test('the pieces of a long line are searched once each', () => {
  const split = String.prototype.split;
  let searched = 0;
  mock.method(String.prototype, 'split', function (this: string, by: RegExp) {
    if (by.test('\n')) searched += this.length; // for where lines end
    return split.call(this, by);
  });
  const pieces = Array.from({ length: 1000 }, () => 'x'.repeat(1000));
  const [event] = read('data: ', ...pieces, '\n\n');
  mock.restoreAll();
  assert.deepEqual([event!.data.length, searched], [1_000_000, 1_000_008]);
});
