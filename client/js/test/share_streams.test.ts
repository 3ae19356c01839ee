// Messages that grow, in tabs that share a connection.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import '../src/stream.js';
import { layer } from '../src/transport.js';
import { FakeSocket, pass, settle } from './fakes.js';
import { opened, openRt, server, type RtTab } from './tabkit.js';

interface Loop {
  got: string[];
  end: unknown;
  leave(): void;
}

/** A loop in a tab, over a stream of `room`. */
function read({ tab, rt }: RtTab, stream = 'a1'): Loop {
  const loop: Loop = { got: [], end: undefined, leave: () => {} };
  tab.run(() => {
    const followed = rt.stream('room', stream);
    loop.leave = followed.subscribe(() => {
      if (followed.text !== (loop.got.at(-1) ?? '')) loop.got.push(followed.text);
      if (followed.state !== 'streaming') loop.end = followed.error?.code ?? followed.state;
    });
  });
  return loop;
}

const ops = (op: string): number => FakeSocket.all.reduce((sum, socket) => sum + socket.ops(op).length, 0);

test('a tab that comes later begins with all of it, and all of them go on', async () => {
  const growing = server.grow('room', 'a1');
  server.write(growing, 'Hello');
  const [a, b] = [await openRt('a'), await openRt('b')];
  assert.equal(server.sockets().length, 1);
  const first = read(a);
  await settle();
  server.write(growing, ', wörld');
  await settle();
  const second = read(b);
  server.write(growing, '!'); // the answer to b is on its way
  await settle();
  assert.deepEqual([first.got.at(-1), second.got.at(-1)], ['Hello, wörld!', 'Hello, wörld!']);
  const stopped = b.tab.run(() => b.rt.stream('room', 'a1').stop());
  await stopped;
  await settle();
  assert.deepEqual([first.end, second.end, growing.state], ['cancelled', 'cancelled', 'cancelled']);
});

test('one that leaves leaves it to the others', async () => {
  const growing = server.grow('room', 'a1');
  server.write(growing, 'x');
  const [a, b, c] = [await openRt('a'), await openRt('b'), await openRt('c')];
  const [first, second] = [read(a), read(b), read(c)];
  await settle();
  first.leave();
  await c.tab.kill();
  await settle();
  server.write(growing, 'y');
  await settle();
  assert.deepEqual([ops('unstream'), first.got, second.got], [0, ['x'], ['x', 'xy']]);
  second.leave();
  await settle();
  assert.deepEqual([ops('unstream'), server.followed(growing)], [1, 0]);
  const again = read(b);
  await settle();
  await b.tab.kill();
  await settle();
  assert.deepEqual([again.got, ops('unstream'), server.followed(growing)], [['xy'], 2, 0]);
});

test('the tab that has the connection is gone', async () => {
  const growing = server.grow('room', 'a1');
  server.write(growing, 'x');
  const [a, b] = [await openRt('a'), await openRt('b')];
  const second = read(b);
  read(a);
  await settle();
  await a.tab.kill();
  server.write(growing, 'y');
  await opened(() => (second.got.at(-1) === 'xy' ? 'open' : ''));
  server.write(growing, 'z');
  server.finish(growing, 'complete');
  await settle();
  assert.deepEqual([second.got, second.end], [['x', 'xy', 'xyz'], 'complete']);
});

test('a refusal is for the tab that asks', async () => {
  server.write(server.grow('room', 'a1'), 'x');
  const [a, b] = [await openRt('a'), await openRt('b')];
  const first = read(a);
  const none = read(b, 'a2');
  await settle();
  assert.deepEqual([first.got, first.end, none.end], [['x'], undefined, 'not_found']);
  await settle();
  assert.equal(ops('unstream'), 0);
});

test('a tab of a page without streams is not led astray', async () => {
  const growing = server.grow('room', 'a1');
  const extend = layer.extend_!;
  delete layer.extend_;
  const plain = await openRt('plain'); // and leads
  layer.extend_ = extend;
  const b = await openRt('b');
  const second = read(b);
  server.publish('room', 1);
  await settle();
  server.write(growing, 'x');
  await settle();
  await server.cut();
  server.publish('room', 2);
  await opened(() => (plain.got.length > 1 && b.got.length > 1 ? 'open' : ''));
  server.write(growing, 'y');
  await settle();
  assert.deepEqual([plain.got, b.got, second.got], [[1, 2], [1, 2], ['x', 'xy']]);
});

/** A linear congruential generator: the same numbers for the same seed. */
const chance = (seed: number) => (): number => (seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;

for (let seed = 1; seed <= 40; seed++)
  test(`whatever happens, everybody sees it grow, and all of it in the end: ${seed}`, async () => {
    const random = chance(seed);
    const one = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)]!;
    const ids = ['a1', 'a2'];
    const growing = ids.map((id) => server.grow('room', id));
    const whole = new Map(ids.map((id) => [id, '']));
    let tabs: RtTab[] = [];
    let loops: { loop: Loop; id: string; tab: RtTab }[] = [];
    const follow = (): void => {
      const [tab, id] = [one(tabs), one(ids)];
      loops.push({ loop: read(tab, id), id, tab });
    };
    for (const name of ['a', 'b', 'c']) tabs.push(await openRt(name + seed));
    for (let step = 0; step < 40; step++) {
      const what = random();
      const written = one(growing);
      if (what < 0.5) {
        whole.set(written.stream, whole.get(written.stream)! + step + one([' ', 'ä', '😀']));
        server.write(written, whole.get(written.stream)!.slice(written.text.length));
      } else if (what < 0.68) follow();
      else if (what < 0.8 && loops.length) {
        const left = one(loops);
        left.loop.leave();
        loops = loops.filter((other) => other !== left);
      } else if (what < 0.84) await server.cut();
      else if (what < 0.88 && tabs.length > 1) {
        const killed = one(tabs);
        tabs = tabs.filter((tab) => tab !== killed);
        loops = loops.filter(({ tab }) => tab !== killed);
        await killed.tab.kill();
      } else if (what < 0.94) await pass(random() * 4_000);
      else await settle();
    }
    follow();
    await pass(40_000);
    for (const made of growing) server.finish(made, 'complete');
    await pass(1_000);
    for (const { loop, id } of loops) {
      assert.equal(loop.end, 'complete');
      assert.equal(loop.got.at(-1) ?? '', whole.get(id));
      for (const [i, text] of loop.got.entries()) assert.ok(whole.get(id)!.startsWith(text) && text.length > (loop.got[i - 1]?.length ?? 0), text);
    }
    assert.deepEqual(growing.map((made) => server.followed(made)), [0, 0]);
  });
