// A client and a server that follows docs/protocol.md, and whatever can come between them, in an order that chance gives.
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { RealtimeClient } from '../src/realtime.js';
import { begin, clock, limits, type Op } from './fakes.js';

type Frame = Record<string, unknown> & { event: string };
type Entry = Frame & { channel: string; id: string };

const names = ['a', 'b'];
const runs = Number(process.env['MODEL_SEEDS'] ?? 800);
const steps = 150;

/** A linear congruential generator: the same numbers for the same seed. */
const chance = (seed: number) => (): number => (seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;

const turn = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) await undefined;
};

async function play(seed: number): Promise<void> {
  begin();
  const random = chance(seed);
  const one = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)]!;
  mock.method(Math, 'random', random);

  // The server: a log, who is present, and one connection.
  const log: Entry[] = [];
  const rosters = new Map(names.map((name) => [name, new Map<string, unknown>()]));
  const published = new Set<unknown>();
  let oldest = 0;
  let socket: Socket | undefined;
  let inbox: Op[] = [];
  let out: Frame[] = [];
  let following = new Map<string, boolean>();
  let sessions = new Map<string, Set<string>>();
  let opening = false;
  let calm = false; // nothing more is refused

  // What the client is to be told, and what is to come of what it asked for.
  const next = new Map<string, number>(); // of each channel, all up to here
  const refused = new Set<string>(); // until somebody listens again
  const calls = names.map((): { own: string | undefined; ok?: boolean }[] => []); // of presence, and what others then see
  const wrong: unknown[] = [];
  let waiting = 0;

  const due = (name: string): string | undefined => log.slice(next.get(name)).find(({ event, channel }) => event === 'message' && channel === name)?.id;
  const append = (channel: string, event: string, more: object): void => {
    const frame = { event, channel, ts: 1, id: String(log.length + 1), ...more };
    log.push(frame);
    if (event === 'message' ? following.has(channel) : following.get(channel)) out.push(frame);
  };
  const enter = (channel: string, userId: string, metadata: unknown): void => {
    const members = rosters.get(channel)!;
    const event = members.has(userId) ? 'presence.update' : 'presence.join';
    members.set(userId, metadata);
    append(channel, event, { userId, metadata });
  };
  const exit = (channel: string, userId: string): void => void (rosters.get(channel)!.delete(userId) && append(channel, 'presence.leave', { userId }));
  const state = (channel: string): Frame => ({
    event: 'presence.state', channel, members: [...rosters.get(channel)!].map(([userId, metadata]) => ({ userId, metadata, lastSeen: 1 })),
  });
  const reset = (): void => {
    [inbox, out, following] = [[], [], new Map()];
    for (const [channel, users] of sessions) for (const user of users) exit(channel, user);
    sessions = new Map(names.map((name) => [name, new Set()]));
  };
  const hello = (): void => {
    reset();
    refused.clear();
    socket!.onmessage({ data: JSON.stringify({ event: 'hello', src: 'T', limits: { ...limits, rate: 1e6, burst: 1e6 } }) });
  };
  class Socket {
    onopen!: () => void;
    onmessage!: (event: { data: string }) => void;
    onclose!: (event: { code: number }) => void;
    constructor() {
      reset();
      socket = this;
      opening = true;
    }
    send(text: string): void {
      if (this === socket) inbox.push(JSON.parse(text) as Op);
      for (const name of names) assert.ok(inbox.filter(({ op, channel }) => op !== 'publish' && channel === name).length < 3, 'too much in flight');
    }
    close(): void {
      if (this !== socket) return;
      socket = undefined;
      reset();
    }
  }

  /** The server decides an operation. */
  const decide = ({ op, ref, channel, since, presence, userId = 'me', metadata, data, id }: Op & { userId?: string }): void => {
    const no = (code: string, retry = false): void => void out.push({ event: 'error', ref, code, retry, of: op === 'subscribe' && !retry && channel });
    const ok = (): void => void out.push({ event: 'ok', ref });
    if (op === 'hello') return hello();
    if (!calm && random() < 0.1) return no('rate_limited', true);
    const members = sessions.get(channel!)!;
    if (op === 'subscribe') {
      const again = following.has(channel!);
      if (!calm && (presence || !again) && random() < 0.1) return no('forbidden'); // but not to want less
      const at = Number(since ?? -1);
      const how = again || at >= oldest ? 'resumed' : since ? 'reset' : 'fresh';
      following.set(channel!, !!presence);
      out.push({ event: 'subscribed', ref, channel, state: how, reason: 'evicted', ...(again ? {} : { cursor: how === 'resumed' ? since : String(log.length) }) });
      if (how === 'resumed' && !again) out.push(...log.slice(at).filter((frame) => frame.channel === channel && (presence || frame.event === 'message')));
      else if (presence) out.push(state(channel!));
    } else if (op === 'unsubscribe') {
      following.delete(channel!);
      ok();
    } else if (op === 'publish') {
      if (!published.has(id)) append(channel!, 'message', { data });
      published.add(id);
      ok();
    } else if (op === 'leave') {
      if (members.delete(userId)) exit(channel!, userId);
      ok();
    } else if (op === 'update' && !members.has(userId)) no('not_joined');
    else if (metadata === 'bad') no('too_large');
    else {
      members.add(userId);
      enter(channel!, userId, metadata);
      ok();
    }
  };
  let at = 0; // where the subscription begins or goes on that the client is told of
  let taken = false;
  const deliver = (): void => {
    const { of, was, ...frame } = out.shift()!;
    const channel = frame['channel'] as string;
    [at, taken] = [Number(frame['cursor']), false];
    if (frame['state'] === 'fresh') next.set(channel, at);
    if (of || frame.event === 'unsubscribed') refused.add((of as string) || channel);
    socket!.onmessage({ data: JSON.stringify(frame) });
    if (frame.event === 'left') for (const call of calls[names.indexOf(channel)]!) if (taken || call.own === was) call.own = call.ok ? undefined : '?';
  };

  let channels!: Map<string, unknown>;
  const RealMap = Map;
  globalThis.Map = class extends RealMap<never, never> {
    constructor() {
      super();
      channels = this;
    }
  } as MapConstructor;
  const rt = new RealtimeClient({ clientId: 'c'.repeat(16), WebSocket: Socket as never });
  globalThis.Map = RealMap;
  rt.onError((error) => (taken ||= (error as never as { code: string }).code === 'left'));
  rt.onReset(({ channel }) => void next.set(channel, at));
  rt.onAny((event) => {
    if (event.event !== 'message') return;
    if (event.id !== due(event.channel)) wrong.push(event); // what a listener throws harms nobody
    next.set(event.channel, Number(event.id));
  });
  const handles = names.map((name) => rt.presence(name));
  const offs = names.map((): Map<() => void, boolean> => new Map()); // and whether of presence
  const listenTo = (i: number, kind: 'subscribe' | 'onJoin' | 'onLeave'): void => {
    refused.delete(names[i]!);
    const off = kind === 'subscribe' ? rt.subscribe(names[i]!, () => {}) : handles[i]![kind](() => {});
    offs[i]!.set(off, kind !== 'subscribe');
  };
  const off = (i: number): void => {
    for (const [stop] of offs[i]!) if (offs[i]!.delete(stop)) return stop();
  };
  const call = (i: number, own: string | undefined, promise: Promise<void>): void => {
    const it: (typeof calls)[0][0] = { own };
    calls[i]!.push(it);
    waiting++;
    promise.then(() => (it.ok = true), () => {}).finally(() => waiting--);
  };
  const users = [['ada', 'eve'], [undefined]]; // whom the server knows is `me`
  const seldom = (act: (i: number, name: string) => unknown) => (i: number, name: string): unknown => random() < 0.2 && act(i, name);
  let n = 0;
  const acts: ((i: number, name: string) => unknown)[] = [
    (i) => listenTo(i, one(['subscribe', 'onJoin', 'onLeave'])),
    off,
    (i) => offs[i]!.forEach(() => off(i)),
    (i) => call(i, String(++n), handles[i]!.join(one<string | undefined>(users[i]!), String(n))),
    (i) => call(i, String(++n), handles[i]!.update(String(n))),
    (i) => call(i, 'bad', handles[i]!.update('bad')),
    (i) => call(i, undefined, handles[i]!.leave()),
    (_, name) => rt.publish(name, ++n).catch(() => {}),
    seldom(() => rt.disconnect()),
    () => rt.connect(),
    seldom(() => socket?.onclose({ code: 1006 })),
    seldom(() => following.size && hello()), // another tab has taken the connection over
    seldom(() => (oldest = log.length)),
    (_, name) => append(name, 'message', { data: ++n }),
    (_, name) => enter(name, one(['x', 'y']), ++n),
    (_, name) => exit(name, one(['x', 'y'])),
    seldom((_, channel) => following.delete(channel) && out.push({ event: 'unsubscribed', channel, code: 'forbidden' })),
    seldom((_, channel) => {
      for (const userId of sessions.get(channel) ?? []) {
        out.push({ event: 'left', channel, userId, code: 'left', was: rosters.get(channel)!.get(userId) });
        sessions.get(channel)!.delete(userId);
        exit(channel, userId);
      }
    }),
    seldom((_, channel) => {
      if (!following.has(channel)) return;
      out = out.filter((frame) => frame.event !== 'ping' && (!frame['id'] || frame['channel'] !== channel));
      out.push({ event: 'reset', channel, reason: 'backend', cursor: String(log.length) });
      if (following.get(channel)) out.push(state(channel));
    }),
    () => out.push({ event: 'ping', cursor: String(log.length) }),
    () => clock.tick(2500),
  ];
  const server = (): unknown => {
    if (!socket) return;
    if (opening) {
      opening = false;
      socket.onopen();
    } else if (out.length && random() < 0.5) deliver();
    else if (inbox.length) decide(inbox.shift()!);
  };
  for (let step = 0; step < steps; step++) {
    const i = Math.floor(random() * names.length);
    if (random() < 0.4) one(acts)(i, names[i]!);
    else if (random() < 0.6) server();
    else await turn();
  }

  rt.connect();
  calm = true;
  for (let round = 0, idle = 0; idle < 30; round++) {
    assert.ok(round < 2000, 'it never rests');
    await turn();
    idle = rt.isConnected() && !inbox.length && !out.length ? idle + 1 : 0;
    clock.tick(100);
    server();
  }
  assert.deepEqual([waiting, wrong], [0, []], 'promises, and each message once');
  for (const [i, name] of names.entries()) {
    const own = calls[i]!.filter(({ ok }) => ok).at(-1)?.own;
    const members = rosters.get(name)!;
    const present = [...sessions.get(name)!].map((user) => members.get(user));
    if (own !== '?') assert.deepEqual(present, own === undefined ? [] : [own], 'presence');
    const wanted = present.length > 0 || [...offs[i]!.values()].some(Boolean);
    const used = wanted || offs[i]!.size > 0;
    if (!used) assert.deepEqual([following.has(name), channels.has(name)], [false, false], 'nobody wants it');
    else if (!refused.has(name)) {
      assert.equal(following.get(name), wanted, 'subscription');
      if (wanted) assert.deepEqual(new Map(handles[i]!.members().map(({ userId, metadata }) => [userId, metadata])), members);
      assert.deepEqual(due(name), undefined, 'no message is missing');
    }
  }
  rt.disconnect();
  await turn();
}

test('whatever comes between, at rest all is as it is wanted', async () => {
  for (let seed = 1; seed <= runs; seed++)
    await play(seed).catch((e: Error) => {
      e.message = `seed ${seed}: ${e.message}`;
      throw e;
    });
  mock.restoreAll();
});
