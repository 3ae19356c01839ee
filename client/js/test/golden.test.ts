// The frames of testdata/wire.json, which the Go server's tests make.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RealtimeClient } from '../src/realtime.js';
import { createParser, type StreamEvent } from '../src/sse.js';
import { begin, clock, FakeSocket, limits, settle, type Op } from './fakes.js';
import { testdata } from './testdata.js';

interface Wire {
  ren: { name: string; frame: string; parsed: { event: string; id: string; data: unknown; retry?: number }[] }[];
  server: { name: string; frame: string }[];
  client: { name: string; frame: string }[];
}

const wire = testdata<Wire>('wire.json', process.env['REALTIME_WIRE']);

for (const { name, frame, parsed } of wire.ren) {
  test('REN: ' + name, () => {
    const events: StreamEvent[] = [];
    createParser((event) => events.push(event))(new TextEncoder().encode(frame));
    const read = events.map(({ event, id, data, retry }, i) => ({
      event, id, data: JSON.parse(data) as unknown, ...(parsed[i]?.retry === undefined ? {} : { retry }),
    }));
    assert.deepEqual(read, parsed);
    const retry = /^retry: (\d+)$/m.exec(frame)?.[1];
    assert.equal(events[0]?.retry, retry && Number(retry));
  });
}

const clientId = 'Zm9vYmFyYmF6cXV4.dGFi';

/** A client that is subscribed to room:42 with presence, and whose operation 7 waits. */
async function client(log: string[], greet = true): Promise<[RealtimeClient, FakeSocket]> {
  begin();
  const rt = new RealtimeClient({ clientId });
  rt.onError((error) => void log.push('error ' + (error as { code?: string }).code));
  rt.onReset(({ channel, reason }) => void log.push(`reset ${channel} ${reason}`));
  rt.onAny(({ event, from }) => void log.push(event + (from === clientId ? ' own' : '')));
  rt.connect();
  await settle();
  const socket = FakeSocket.last;
  socket.open();
  if (greet) {
    socket.say({ event: 'hello', src: 'polBsgvE5iyw58vB', cursor: 'c', limits });
    rt.subscribe('room:42', ({ data }) => void log.push('data ' + JSON.stringify(data)));
    rt.presence('room:42').onJoin(({ userId }) => void log.push('here ' + userId));
    await settle();
  }
  return [rt, socket];
}

/** What a client that is subscribed must make of each frame, beside not complaining. */
const effects: Record<string, string[]> = {
  message: ['data {"type":"message","text":"line\\nline\u2028 <b>&"}', 'message own'],
  'message.server': ['data null', 'message'],
  join: ['here ada', 'presence.join own'],
  update: ['here ada', 'presence.join own'], // as the roster sees it, which did not know her
  leave: ['presence.leave own'],
  'leave.bare': ['presence.leave'],
  error: ['refused forbidden'],
  'error without ref': ['error forbidden'],
  ok: ['accepted'],
  'presence.state': ['here ada', 'presence.join', 'here bob', 'presence.join'],
  'presence.state empty': [],
  // nothing of a roster counts before its last part has come
  'presence.state first part': [],
  'presence.state middle part': [],
  'presence.state last part': [],
  reset: ['reset room:42 evicted'],
  ping: ['cursor hoftbqjitc.2r'],
  unsubscribed: ['error forbidden'],
  left: [], // of somebody who was not joined here
  bye: ['closed'],
  hello: ['open'],
  'hello with an expiry': ['open'],
  'ok renewed': [], // nothing was asked here
  'subscribed fresh': ['data 1', 'message'],
  'subscribed resumed': ['data 1', 'message'],
  'subscribed reset': ['reset room:42 epoch', 'data 1', 'message'],
};

for (const { name, frame } of wire.server) {
  test('server: ' + name, async () => {
    const log: string[] = [];
    const [rt, socket] = await client(log, !name.startsWith('hello'));
    const room = { event: 'subscribed', ref: 2, channel: 'room:42', state: 'fresh', cursor: 'c' };
    if (!name.startsWith('subscribed')) socket.say({ ...room, ref: 1 }, room);
    const say = (): void => socket.onmessage!({ data: frame });
    if (name.startsWith('leave')) socket.say({ event: 'presence.join', channel: 'room:42', userId: 'ada', ts: 1, id: 'i' });
    if (name === 'ok' || name === 'error') {
      // the operations 3 to 7
      for (let ref = 3; ref <= 7; ref++) {
        const sent = rt.publish('room:42', ref);
        if (ref === 7) sent.then(() => log.push('accepted'), (e: { code: string }) => log.push('refused ' + e.code));
      }
    }
    log.length = 0;
    if (name.startsWith('subscribed')) {
      socket.onmessage!({ data: frame.replace('"ref":7', '"ref":1') });
      socket.say({ event: 'message', channel: 'room:42', data: 1, id: 'i' });
    } else say();
    await settle();
    if (name === 'bye') log.push(socket.closed === 1000 ? 'closed' : 'open');
    if (name.startsWith('hello')) log.push(rt.state);
    if (name === 'ping') {
      await socket.drop();
      clock.tick(1000);
      await settle();
      await FakeSocket.last.greet();
      log.push('cursor ' + FakeSocket.last.ops('subscribe')[0]!.since);
    }
    const want = effects[name];
    assert.ok(want, 'a new frame: say here what a client makes of it');
    assert.deepEqual(log, want);
    rt.disconnect();
  });
}

test('client: all frames', async () => {
  begin();
  const golden = new Map(wire.client.map(({ name, frame }) => [name, JSON.parse(frame) as Op]));
  const named = (name: string): Op => {
    const op = golden.get(name);
    assert.ok(op, name);
    golden.delete(name);
    return op;
  };
  /** The last operation of a kind, with the golden frame's ref and id. */
  const check = (name: string, socket: FakeSocket): void => {
    const want = named(name);
    const got = { ...socket.ops(want.op).at(-1)! };
    if (want.ref !== undefined) {
      assert.equal(typeof got.ref, 'number');
      got.ref = want.ref;
    }
    if (want.op === 'publish') {
      assert.match(got.id!, /^.{1,64}$/);
      got.id = want.id!;
    }
    assert.deepEqual(got, want);
  };
  const channel = 'room:42';
  let token: string | undefined;
  const rt = new RealtimeClient({ clientId, getToken: () => token });
  rt.connect();
  await settle();
  let socket = FakeSocket.last;
  await socket.greet();
  check('hello', socket);
  const off = rt.subscribe(channel, () => {});
  check('subscribe', socket);
  void rt.publish(channel, { type: 'message', text: 'hello' });
  check('publish', socket);
  socket.answer('publish');
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c' });
  off();
  await settle();
  check('unsubscribe', socket);
  socket.answer('unsubscribe');
  const presence = rt.presence(channel);
  void presence.join('ada', { name: 'Ada' });
  check('join', socket);
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: golden.get('subscribe with since and presence')?.since });
  socket.say({ event: 'presence.state', channel, members: [], cursor: 'c' });
  socket.answer('join');
  void presence.update({ name: 'Countess' });
  check('update', socket);
  token = 'secret';
  await socket.drop();
  clock.tick(1000);
  await settle();
  socket = FakeSocket.last;
  await socket.greet();
  check('hello with token', socket);
  check('subscribe with since and presence', socket);
  socket.answer('join');
  void presence.leave();
  check('leave', socket);
  assert.deepEqual([...golden.keys()], [], 'frames the SDK was not made to send');
  rt.disconnect();
});
