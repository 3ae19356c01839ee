// The adapters of TanStack Query and SWR, with the real libraries.
import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import { QueryClient, QueryObserver } from '@tanstack/query-core';
import { createElement } from 'react';
import { act, create } from 'react-test-renderer';
import useSWR, { mutate, SWRConfig, useSWRConfig } from 'swr';
import { invalidateQueries, revalidateSWR, type InvalidateOptions } from '../src/query.js';
import { RenClient } from '../src/ren.js';
import { begin, clock, dice, pass, settle, type FakePage } from './fakes.js';
import { Server, tag } from './server.js';

const clientId = 'client-of-this-tab';
let page: FakePage;
let server: Server;
let ren: RenClient;

beforeEach(() => {
  mock.restoreAll();
  page = begin();
  dice(0.5);
  server = new Server();
  server.install();
  ren = new RenClient({ clientId });
});

const keys: InvalidateOptions<readonly unknown[]>['keys'] = ({ ch }) => (ch ? [['rooms', ch]] : []);

/** Queries of TanStack Query that are shown: how often each was loaded, and what it shows. */
function tanstack(options: Partial<InvalidateOptions<readonly unknown[]>> = {}, ms = 0): { loads: Record<string, number>; shown(room: string): unknown; client: QueryClient; stop(): void } {
  const client = new QueryClient({ defaultOptions: { queries: { staleTime: Infinity, retry: false, networkMode: 'always' } } });
  client.mount();
  const loads: Record<string, number> = {};
  const offs = ['a', 'b'].map((room) =>
    new QueryObserver(client, {
      queryKey: ['rooms', room, 'messages'],
      queryFn: async () => {
        loads[room] = (loads[room] ?? 0) + 1;
        const { head } = server;
        if (ms) await new Promise((done) => setTimeout(done, ms));
        return head;
      },
    }).subscribe(() => {}));
  const off = invalidateQueries(ren, client, { keys, ...options });
  return {
    loads, client,
    shown: (room) => client.getQueryData(['rooms', room, 'messages']),
    stop() {
      off();
      offs.forEach((end) => end());
      client.clear();
      client.unmount();
      ren.close();
    },
  };
}

test('TanStack Query: events load again what they name, many at once, and nothing else', async () => {
  const { loads, shown, stop } = tanstack();
  await pass(3_000);
  assert.deepEqual(loads, { a: 2, b: 2 }, 'all of it when the client opens');
  for (let n = 0; n < 20; n++) server.publish('a', n);
  await pass(99);
  assert.deepEqual(loads, { a: 2, b: 2 });
  await pass(200);
  assert.deepEqual([loads, shown('a'), shown('b')], [{ a: 3, b: 2 }, 20, 0]);
  await server.cut();
  await pass(3_000);
  assert.deepEqual(loads, { a: 3, b: 2 }, 'what is resumed is not stale');
  await server.cut();
  server.forgets = true;
  await pass(5_000);
  assert.deepEqual(loads, { a: 4, b: 3 }, 'what is reset is');
  stop();
  server.publish('a', 0);
  await pass(5_000);
  assert.deepEqual(loads, { a: 4, b: 3 });
});

test('TanStack Query: an event while a query loads for the first time is not lost', async () => {
  const { shown, stop } = tanstack({}, 400);
  await pass(10);
  server.publish('a', 1);
  await pass(5_000);
  assert.equal(shown('a'), 1);
  stop();
});

test('TanStack Query: a load is not begun again and again while events come; the last one counts', async () => {
  const { loads, shown, stop } = tanstack({}, 500);
  await pass(5_000);
  const before = loads['a']!;
  for (let n = 0; n < 100; n++) {
    server.publish('a', n);
    await pass(50);
  }
  assert.ok(loads['a']! - before <= 9, String(loads['a']! - before));
  assert.ok((shown('a') as number) > 80, 'what it shows follows meanwhile');
  await pass(2_000);
  assert.equal(shown('a'), 100);
  stop();
});

for (const skipOwn of [false, true])
  test(`own writes are ${skipOwn ? 'left out' : 'kept'}`, async () => {
    const { loads, stop } = tanstack({ skipOwn });
    await pass(3_000);
    server.publish('a', 1, tag(clientId));
    server.publish('b', 1);
    await pass(1_000);
    assert.deepEqual(loads, { a: skipOwn ? 2 : 3, b: 3 });
    stop();
  });

test('tabs load at different times, and those that nobody looks at later', async () => {
  const tabs = [0, 0.5, 0.99].map((random) => ({ ...tanstack(), random }));
  await pass(3_000);
  const at: number[] = [];
  for (const tab of tabs) {
    mock.restoreAll();
    dice(tab.random);
    const { a } = tab.loads;
    const from = clock.now;
    server.publish('a', 1);
    while (tab.loads['a'] === a) await pass(1);
    at.push(clock.now - from);
    await pass(1_000);
  }
  assert.ok(at[0]! < at[1]! && at[1]! < at[2]! && at[2]! < 210, String(at));
  page.look('hidden');
  const { a } = tabs[0]!.loads;
  dice(0.5);
  server.publish('a', 1);
  await pass(2_000);
  assert.equal(tabs[0]!.loads['a'], a);
  await pass(1_000);
  assert.equal(tabs[0]!.loads['a'], a! + 1);
  tabs.forEach(({ stop }) => stop());
});

test('a load that does not end holds up the others for ten seconds', async () => {
  let calls = 0;
  const off = invalidateQueries(ren, { invalidateQueries: () => (calls++, new Promise(() => {})) }, { keys });
  await pass(2_000);
  assert.equal(calls, 1);
  server.publish('a', 1);
  await pass(5_000);
  assert.equal(calls, 1);
  await pass(6_000);
  assert.equal(calls, 2);
  off();
  ren.close();
  await settle();
  assert.equal(clock.timers, 0);
});

test('more keys than are worth naming are all, and a library that throws is asked again', async () => {
  const asked: unknown[] = [];
  const invalidate = (filters: object): Promise<void> => {
    asked.push(filters);
    throw new Error('no');
  };
  const off = invalidateQueries(ren, { invalidateQueries: invalidate }, { keys: ({ data }) => [[data]] });
  await pass(2_000);
  for (let n = 0; n < 1_001; n++) server.publish('a', n);
  await pass(2_000);
  server.publish('a', 'x');
  await pass(2_000);
  assert.deepEqual(asked.map((filters) => (filters as { queryKey?: unknown }).queryKey), [undefined, undefined, ['x']]);
  off();
  assert.deepEqual(invalidateQueries(undefined, { invalidateQueries: invalidate }, { keys })(), undefined, 'without a client');
  ren.close();
});

test('SWR: events load again what they name, and a reset all', async () => {
  Object.assign(globalThis, {
    IS_REACT_ACT_ENVIRONMENT: true,
    /** React's act() opens one for each call, and leaves it open, which keeps the process. */
    MessageChannel: class {
      port1 = { onmessage: () => {} };
      port2 = { postMessage: (): void => void setImmediate(() => this.port1.onmessage()) };
    },
  });
  const loads: Record<string, number> = {};
  const fetcher = (key: unknown): number => {
    const name = JSON.stringify(key);
    loads[name] = (loads[name] ?? 0) + 1;
    return server.head;
  };
  const shown: unknown[] = [];
  let scoped = mutate;
  const Shown = (): null => {
    scoped = useSWRConfig().mutate;
    shown[0] = useSWR('/rooms/a', fetcher).data;
    shown[1] = useSWR(['/rooms', { id: 'b' }], fetcher).data;
    return null;
  };
  const value = { provider: () => new Map(), dedupingInterval: 0, revalidateOnFocus: false, revalidateOnReconnect: false };
  let root: ReturnType<typeof create>;
  await act(async () => {
    root = create(createElement(SWRConfig, { value }, createElement(Shown)));
    await settle();
  });
  const off = revalidateSWR(ren, scoped, { keys: ({ ch }) => (ch === 'a' ? ['/rooms/a'] : [['/rooms', { id: ch }]]) });
  await act(() => pass(3_000));
  const named = ['"/rooms/a"', '["/rooms",{"id":"b"}]'] as const;
  const counts = (): unknown[] => named.map((name) => loads[name]);
  assert.deepEqual(counts(), [2, 2]);
  server.publish('a', 1);
  await act(() => pass(1_000));
  assert.deepEqual([counts(), shown], [[3, 2], [1, 0]]);
  server.publish('b', 1);
  await act(() => pass(1_000));
  assert.deepEqual([counts(), shown], [[3, 3], [1, 2]]);
  await server.cut();
  server.forgets = true;
  await act(() => pass(5_000));
  assert.deepEqual(counts(), [4, 4]);
  await act(async () => root.unmount());
  off();
  ren.close();
});
