// What goes wrong between tabs that share a REN stream, and between them and the server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groupName } from '../src/share/lock.js';
import { shareStream } from '../src/share/stream.js';
import { type OpenStream } from '../src/transport.js';
import { pass, requests, serveFetch, settle } from './fakes.js';
import { count, openRen, server } from './tabkit.js';
import { locks, said, Tab } from './tabs.js';

/** The server greets a stream again, as after a check of rights. */
async function greetAgain(domains: string[]): Promise<void> {
  const data = JSON.stringify({ cursor: 'e.' + server.head, state: 'resumed', src: 'tag of client-of-tab-a', domains });
  await server.streams()[0]!.send(`event: ren.hello\nid: e.${server.head}\ndata: ${data}\n\n`);
  await settle();
}

test('REN: a tab that takes the lead over as another user does not lead those of the one before', async () => {
  server.user = 'ada';
  const [a, b] = [await openRen('a'), await openRen('b')];
  server.user = 'eve';
  await a.tab.kill();
  await pass(250);
  assert.deepEqual([b.ren.state, server.streams().length], ['connecting', 0]);
  await pass(1000);
  server.publish('x', 1);
  await settle();
  assert.deepEqual([b.got, server.streams().length, b.resets], [[1], 1, 0]);
});

test('REN: who waits for a leader puts off no more than a thousand events', async () => {
  const first = await openRen('a');
  first.tab.hang();
  const second = await openRen('b', {}, false);
  await pass(500);
  for (let n = 1; n <= 1200; n++) server.publish('x', n);
  await settle();
  assert.deepEqual([second.ren.state, second.got], ['open', count(1, 1200)]);
  first.tab.wake();
});

test('REN: a tab that gets the lead while it waits for an answer does not take it from itself', async () => {
  const a = await openRen('a');
  a.tab.hang();
  const c = await openRen('c', {}, false);
  await pass(1000);
  await a.tab.kill();
  await pass(500);
  assert.equal(c.ren.state, 'open');
  await pass(10_000);
  server.publish('x', 1);
  await settle();
  assert.deepEqual([c.states, c.got, server.streams().length, requests.length], [['open'], [1], 1, 2]);
});

test('REN: a later hello that says the same changes nothing, for those who come after it either', async () => {
  const [a, b] = [await openRen('a'), await openRen('b')];
  server.publish('x', 1);
  await settle();
  const before = said().length;
  await greetAgain(['*']);
  assert.equal(said().length, before + 1, 'the others hear of it, and nobody begins again');
  const c = await openRen('c');
  await pass(6000);
  server.publish('x', 2);
  await settle();
  assert.deepEqual([a.got, b.got, c.got, server.streams().length], [[1, 2], [1, 2], [2], 1]);
  assert.deepEqual([a.states, b.states, c.states], [['open'], ['open'], ['open']]);
});

test('REN: where the server has forgotten where to go on, each tab is told once', async () => {
  const tabs = [await openRen('a'), await openRen('b'), await openRen('c')];
  server.publish('x', 1);
  await settle();
  server.forgets = true;
  server.log.push({ seq: 2, channel: 'x', data: 2, from: 'server' }); // just as the leader goes
  await tabs[0]!.tab.kill();
  await pass(1000);
  server.publish('x', 3);
  server.ping();
  await pass(1000);
  server.publish('x', 4);
  await settle();
  assert.deepEqual(tabs.slice(1).map(({ got, resets }) => [got, resets]), [[[1, 3, 4], 1], [[1, 3, 4], 1]]);
  assert.equal(server.streams().length, 1);
});

test('REN: a tab that has had a stream of its own is not told of a reset again', async () => {
  const [tab, leader] = [new Tab(), new Tab()];
  const url = new URL('https://app.example/ren');
  const name = groupName('ren', url, true, undefined, undefined);
  let answer: object = { no: true };
  leader.run(() => {
    void navigator.locks.request(name, {}, () => new Promise(() => {}));
    const channel = new BroadcastChannel(name);
    channel.onmessage = ({ data }) => channel.postMessage({ from: 'leader', to: (data as { from: string }).from, ...answer });
  });
  await settle();
  const told: unknown[] = [];
  const takes: Parameters<OpenStream>[3][] = [];
  const open: OpenStream = (_url, _headers, _signal, take) => new Promise(() => takes.push(take));
  const hangUp = new AbortController();
  const say = async (event: string, state: string): Promise<void> => {
    tab.run(() => takes[0]!({ event, id: 'e1', data: JSON.stringify({ state }), retry: undefined }));
    await settle();
  };
  const take: Parameters<OpenStream>[3] = ({ event, data }) => told.push([event, (JSON.parse(data) as { state?: string }).state]);
  tab.run(() => void shareStream(open, { shareTabs: true })(url, {}, hangUp.signal, take, () => {}, undefined));
  await say('ren.hello', 'reset');
  answer = { events: [{ event: 'ren.ping', id: 'e1', data: '{}' }, { event: 'message', id: 'e2', data: '{}' }] };
  await say('ren.ping', 'open');
  assert.deepEqual(told, [['ren.hello', 'reset'], ['ren.ping', 'open'], ['ren.hello', 'resumed'], ['message', undefined]]);
  tab.run(() => hangUp.abort());
  locks.kill(leader);
});

test('REN: an answer that comes too late for a tab with a stream of its own is not heeded', async () => {
  const first = await openRen('a');
  server.publish('x', 1);
  await settle();
  const second = await openRen('b');
  second.tab.run(() => second.tab.page.fire('pagehide'));
  for (let n = 2; n < 1200; n++) server.publish('x', n);
  await settle();
  second.tab.run(() => second.tab.page.fire('pageshow'));
  await pass(750);
  assert.equal(server.streams().length, 2);
  first.tab.hang();
  server.ping();
  await settle();
  server.publish('x', 1200);
  await settle();
  first.tab.wake();
  await settle();
  assert.deepEqual(second.got, count(2, 1200));
  server.ping();
  await pass(750);
  server.publish('x', 1201);
  await settle();
  assert.deepEqual([second.got, server.streams().length], [count(2, 1201), 1]);
});

test('REN: after a later hello each tab still knows its own', async () => {
  const [a, b] = [await openRen('a'), await openRen('b')];
  await greetAgain(['*']);
  server.publish('x', 1, 'tag of client-of-tab-b');
  await settle();
  assert.deepEqual([a.own, b.own], [[], [1]]);
});

test('REN: a later hello with other rights makes another group', async () => {
  const [a, b] = [await openRen('a'), await openRen('b')];
  server.publish('x', 1);
  await settle();
  server.domains = ['kv'];
  await greetAgain(['kv']);
  await pass(6000);
  server.publish('x', 2);
  await settle();
  await openRen('c');
  assert.deepEqual([a.got, b.got, server.streams().length], [[1, 2], [1, 2], 1]);
});

test('REN: what a refusal says is read', async () => {
  await openRen('a');
  serveFetch.with = (request) => {
    const signal = request.init.signal!;
    const body = new ReadableStream<Uint8Array>({
      async start(controller) {
        signal.addEventListener('abort', () => controller.error(signal.reason));
        await settle();
        if (signal.aborted) return;
        controller.enqueue(new TextEncoder().encode('{"code":"origin","message":"not from here","retry":false}'));
        controller.close();
      },
    });
    request.answered.catch(() => {}); // in whose place another answers
    request.answered = Promise.resolve(new Response(body, { status: 403 }));
  };
  const errors: unknown[] = [];
  const b = await openRen('b', { onError: (e) => void errors.push([(e as { code?: string }).code, e.message]) }, false);
  await pass(1000);
  assert.deepEqual([b.ren.state, errors], ['closed', [['origin', 'not from here']]]);
});
