// The frames of testdata/wire.json, which the Go server's tests make.
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import type { RealtimeError } from '../src/errors.js';
import '../src/ephemeral.js';
import '../src/history.js';
import { RealtimeClient } from '../src/realtime.js';
import { RenClient } from '../src/ren.js';
import { createParser, type StreamEvent } from '../src/sse.js';
import '../src/stream.js';
import { begin, clock, FakeSocket, pass, requests, settle, type Op } from './fakes.js';
import { clientId, wire } from './goldenkit.js';

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

/**
 * Where the scripts of testdata/wire.json are played: a client and the server it is connected to. What the lines mean is in
 * testdata/README.md.
 */
abstract class Stage {
  state = '';
  token: string | undefined;
  protected told: string[] = [];
  protected abstract frames: Map<string, string>;
  /** The client connects. */
  abstract dial(): Promise<void>;
  /** The server says that all is well. */
  abstract greet(): Promise<void>;
  abstract app(what: string): void;
  abstract say(frame: string): Promise<void>;
  /** The server says only that it is there. */
  abstract beat(): Promise<void>;
  abstract cut(): Promise<void>;
  abstract attempts(): number;
  /** What the client has sent since it was asked before. */
  abstract sent(): string[];
  abstract members(): string[];
  abstract close(): void;

  /** The frame as the answer to the last operation of a kind. */
  answer(op: string, _frame: string): string {
    throw new Error('no answer to ' + op);
  }

  async play(lines: string[]): Promise<void> {
    const rest = [...lines];
    if (!rest.includes('dial')) {
      await this.dial();
      await this.greet();
      this.sent();
    }
    this.#expect('the beginning', rest);
    for (let line; (line = rest.shift()); this.#expect(line, rest)) {
      await this.#act(line);
      await settle();
    }
  }

  protected error(error: Error): void {
    this.told.push('error ' + (error as RealtimeError).code);
  }

  protected tokens(lines: string[]): { getToken?: () => string | undefined } {
    return lines.some((line) => line.startsWith('token')) ? { getToken: () => this.token } : {};
  }

  #frame(name: string): string {
    const frame = this.frames.get(name);
    assert.ok(frame, 'a frame ' + name);
    return frame;
  }

  async #act(line: string): Promise<void> {
    const [verb, ...words] = line.split(' ');
    const rest = words.join(' ');
    const before = this.attempts();
    switch (verb) {
      case 'dial': return this.dial();
      case 'token': return void (this.token = rest);
      case 'app': return this.app(rest);
      case 'say': return this.say(this.#frame(rest));
      case 'answer': return this.say(this.answer(words[0]!, this.#frame(words.slice(1).join(' '))));
      case 'break': return this.cut();
      case 'pass':
        for (let left = Number(rest); left > 0; left -= 20_000) {
          await pass(Math.min(left, 20_000));
          if (left > 20_000) await this.beat();
        }
        return;
      case 'cut':
        await this.cut();
        while (this.attempts() === before) await pass(250);
        return this.greet();
      case 'wait': {
        const [low, high] = words.map(Number) as [number, number];
        await pass(low - 1);
        assert.equal(this.attempts(), before, `${line}: it came back sooner`);
        await pass(high - low + 1);
        assert.equal(this.attempts(), before + 1, line);
        return;
      }
    }
    throw new Error('no line of a script: ' + line);
  }

  /** Compares what has come of a line with the lines after it that say so, and takes them. */
  #expect(line: string, lines: string[]): void {
    const sent: string[] = [];
    const told: string[] = [];
    for (; lines.length; lines.shift()) {
      const [verb, ...words] = lines[0]!.replace(/^ts: /, '').split(' ');
      const rest = words.join(' ');
      if (verb === 'sent') sent.push(rest);
      else if (verb === 'told') told.push(rest);
      else if (verb === 'state') assert.equal(this.state, rest, 'after ' + line);
      else if (verb === 'roster') assert.equal(this.members().join(' '), rest, 'after ' + line);
      else if (verb !== 'go:') break;
    }
    const heard = this.told;
    this.told = [];
    assert.deepEqual([this.sent(), heard.sort()], [sent, told.sort()], 'after ' + line);
  }
}

const channel = 'room:42';

/** The stage of channels. */
class Channels extends Stage {
  protected frames = new Map(wire.server.map(({ name, frame }) => [name, frame]));
  #rt: RealtimeClient;
  #seen = 0; // sockets that were asked for what was sent
  #read = 0; // operations of the last one
  #stops = new Map<string, () => void>();

  constructor(lines: string[]) {
    super();
    begin();
    this.#rt = new RealtimeClient({ clientId, ...this.tokens(lines) });
    this.#rt.onError((error) => this.error(error));
    this.#rt.onReset(({ reason }) => void this.told.push('reset ' + reason));
    this.#rt.onState((state) => void (this.state = state));
  }

  async dial(): Promise<void> {
    this.#rt.connect();
    await this.#opened();
  }

  /** The last connection is there, and the hello has come. */
  async #opened(): Promise<void> {
    await settle();
    if (this.#seen === FakeSocket.all.length) return;
    FakeSocket.last.open();
    await settle();
    this.#seen = FakeSocket.all.length;
    this.#read = 1;
  }

  greet = (): Promise<void> => this.say(this.frames.get('hello')!);
  beat = (): Promise<void> => this.say(this.frames.get('ping without cursor')!);
  cut = (): Promise<void> => FakeSocket.last.drop();
  attempts = (): number => FakeSocket.all.length;
  members = (): string[] => this.#rt.presence(channel).members().map(({ userId }) => userId).sort();
  close = (): void => this.#rt.disconnect();

  async say(frame: string): Promise<void> {
    await this.#opened();
    FakeSocket.last.onmessage!({ data: frame });
    await settle();
  }

  override answer(op: string, frame: string): string {
    return frame.replace('"ref":7', `"ref":${FakeSocket.last.ops(op).at(-1)!.ref}`);
  }

  sent(): string[] {
    if (!this.#seen || this.#seen < FakeSocket.all.length) return []; // it has not been opened
    const ops = FakeSocket.last.sent.slice(this.#read);
    this.#read += ops.length;
    return ops.map(({ op, presence, since, rewind, userId, token }) =>
      op + (presence ? ' presence' : '') + Object.entries({ since, rewind, user: userId, token }).map(([name, value]) => (value ? ` ${name}=${value as string | number}` : '')).join(''));
  }

  app(what: string): void {
    const [verb, user] = what.split(' ') as [string, string | undefined];
    const presence = this.#rt.presence(channel);
    const begin = (kind: string, stop: () => void): void => {
      this.#stops.get(kind)?.();
      this.#stops.set(kind, stop);
    };
    const result = (done: string, promise: Promise<void>): void =>
      void promise.then(() => this.told.push(done), ({ code }: { code: string }) => code !== 'closing' && this.told.push(`${verb} refused ${code}`));
    const tell = (word: string) => ({ userId }: { userId: string }): void => void this.told.push(`${word} ${userId}`);
    switch (verb) {
      case 'subscribe':
        return begin('messages', this.#rt.subscribe(channel, ({ data, from, userId }) => {
          const text = JSON.stringify(data).replaceAll('\u2028', '\\u2028');
          this.told.push(`message ${text}${from === clientId ? ' own' : ''}${userId ? ' user=' + userId : ''}`);
        }));
      case 'rewind':
        return begin('rewound', this.#rt.subscribe(channel, ({ data }) => {
          this.told.push('rewound ' + JSON.stringify(data).replaceAll('\u2028', '\\u2028'));
        }, { rewind: 2, rewindMs: 60_000 }));
      case 'history':
        return void this.#rt.history(channel, { before: 'hog38gu134.2r', limit: 50 }).then(({ messages, before, end }) => {
          const names = messages.map(({ from }) => (from === clientId ? ' message' : ' message.server'));
          this.told.push('page' + names.join('') + (before ? ' before=' + before : '') + (end ? ' end=' + end : ''));
        }, () => {});
      case 'unsubscribe': return this.#stops.get('messages')!();
      case 'watch': {
        const stops = [presence.onJoin(tell('join')), presence.onUpdate(tell('update')), presence.onLeave(tell('leave'))];
        return begin('changes', () => stops.forEach((stop) => stop()));
      }
      case 'unwatch': return this.#stops.get('changes')!();
      case 'publish': return result('published', this.#rt.publish(channel, { type: 'message', text: 'hello' }));
      case 'join': return result('joined', presence.join(user));
      case 'update': return result('updated', presence.update({ name: 'Countess' }));
      case 'leave': return result('left', presence.leave());
    }
    throw new Error('no program can ' + what);
  }
}

/** The stage of REN. */
class REN extends Stage {
  protected frames = new Map(wire.ren.map(({ name, frame }) => [name, frame]));
  #ren: RenClient | undefined;
  #read = 0;
  #opened = 0;

  constructor(private readonly lines: string[]) {
    super();
    begin();
  }

  async dial(): Promise<void> {
    const ren = (this.#ren = new RenClient({ clientId, ...this.tokens(this.lines) }));
    ren.onError((error) => this.error(error));
    ren.onReset(({ reason }) => void this.told.push('reset ' + reason));
    ren.onState((state) => void (this.state = state));
    this.state = ren.state;
    ren.on(({ t, src }) => void this.told.push('event ' + t + (src === clientId ? ' own' : '')));
    await settle();
  }

  greet = async (): Promise<void> => {}; // the scripts say how
  beat = (): Promise<void> => this.say(':\n\n');
  attempts = (): number => requests.length;
  members = (): string[] => [];
  close = (): void => this.#ren?.close();
  app = (what: string): void => assert.fail(what);

  async cut(): Promise<void> {
    await requests.at(-1)!.cut();
  }

  async say(text: string): Promise<void> {
    await settle();
    const request = requests.at(-1)!;
    if (this.#opened < requests.length) await request.stream(text);
    else await request.send(text);
    this.#opened = requests.length;
  }

  sent(): string[] {
    const asked = requests.slice(this.#read);
    this.#read = requests.length;
    return asked.map(({ headers }) => {
      const token = headers.get('Authorization')?.replace('Bearer ', '');
      const since = headers.get('Last-Event-ID');
      return 'get' + (token ? ' token=' + token : '') + (since ? ' since=' + since : '');
    });
  }
}

for (const [kind, list, open] of [
  ['channels', wire.server, (lines: string[]) => new Channels(lines)], ['REN', wire.ren, (lines: string[]) => new REN(lines)],
] as const)
  for (const { name, means } of list) {
    test(`${kind}: ${name} means something`, () => assert.ok(means?.length));
    for (const { case: what, lines } of means ?? [])
      test(`${kind}: ${name}: ${what}`, async () => {
        mock.method(console, 'error', () => {});
        const stage = open(lines);
        try {
          await stage.play(lines);
        } finally {
          stage.close();
          mock.restoreAll();
        }
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
    if (want.op === 'publish' && want.id) {
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
  void rt.publish(channel, { type: 'typing' }, { ephemeral: true });
  check('publish ephemeral', socket);
  socket.answer('publish');
  socket.answer('subscribe', { event: 'subscribed', state: 'fresh', cursor: 'c' });
  const rewound = rt.subscribe(channel, () => {}, { rewind: 2, rewindMs: 60_000 });
  check('subscribe with rewind', socket);
  socket.answer('subscribe', { event: 'subscribed', state: 'resumed', messages: [], end: 'start' });
  void rt.history(channel, { before: 'hog38gu134.2r', limit: 50 });
  check('history', socket);
  socket.answer('history', { event: 'history', messages: [], end: 'start' });
  rewound();
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
