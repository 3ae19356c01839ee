// A server in little: one log, REN streams and WebSockets that follow it.
import { FakeSocket, requests, serveFetch, type FakeRequest, type Op } from './fakes.js';

interface Entry {
  seq: number;
  channel: string;
  data: unknown;
  from: string;
}

/** A message that grows. */
interface Growing {
  channel: string;
  stream: string;
  run: string;
  text: string;
  state: string;
  error?: object;
  followers: Set<FakeSocket>;
}

export class Server {
  user: string | undefined;
  domains: string[] = ['*'];
  log: Entry[] = [];
  /** What joined and left, by client id. */
  presence: string[] = [];
  published = new Set<string>();
  answers = true;
  limits = { message: 65_536, rate: 1000, burst: 1000 };
  /** How long the credentials of a WebSocket last. */
  expiresIn: number | undefined;
  /** Whether it has forgotten what streams could go on from. */
  forgets = false;
  /** Messages that grow, by channel and id. */
  growing = new Map<string, Growing>();
  #streams = new Set<FakeRequest>();
  #channels = new Map<FakeSocket, Set<string>>();

  install(): void {
    serveFetch.with = (request) => setImmediate(() => void this.#ren(request));
    FakeSocket.opened = (socket) => setImmediate(() => socket.open());
    FakeSocket.serve = (socket, op) => setImmediate(() => this.#op(socket, op));
  }

  get head(): number {
    return this.log.length;
  }

  /** Streams that are open now. */
  streams(): FakeRequest[] {
    return requests.filter((request) => this.#streams.has(request) && !request.aborted);
  }

  sockets(): FakeSocket[] {
    return FakeSocket.all.filter((socket) => this.#channels.has(socket) && socket.closed === undefined);
  }

  publish(channel: string, data: unknown, from = 'server'): void {
    const entry = { seq: this.head + 1, channel, data, from };
    this.log.push(entry);
    for (const request of this.streams()) void request.send(ren(entry));
    for (const socket of this.sockets()) if (this.#channels.get(socket)!.has(channel)) this.#say(socket, message(entry));
  }

  ping(): void {
    for (const request of this.streams()) void request.send(control('ren.ping', this.head, {}));
    for (const socket of this.sockets()) this.#say(socket, { event: 'ping', cursor: cursor(this.head), ts: 1 });
  }

  /** Takes a channel away from those who subscribe. */
  revoke(channel: string): void {
    for (const socket of this.sockets())
      if (this.#channels.get(socket)!.delete(channel)) this.#say(socket, { event: 'unsubscribed', channel, code: 'forbidden', message: 'no', retry: false });
  }

  /** Begins a stream, another run of it where there is one. */
  grow(channel: string, stream: string): Growing {
    const made = { channel, stream, run: 'run ' + this.growing.size + (this.growing.get(channel + stream)?.run ?? ''), text: '', state: 'streaming', followers: new Set<FakeSocket>() };
    this.growing.set(channel + stream, made);
    return made;
  }

  write(growing: Growing, text: string): void {
    const offset = bytes(growing.text);
    growing.text += text;
    this.#tellOf(growing, { event: 'stream.append', offset, text, next: bytes(growing.text) });
  }

  finish(growing: Growing, state: string, error?: object): void {
    Object.assign(growing, { state, error });
    this.#tellOf(growing, { event: 'stream.end', state, error, ts: 1, next: bytes(growing.text) });
    growing.followers.clear();
  }

  /** Whether somebody follows it. */
  followed({ followers }: Growing): number {
    return [...followers].filter((socket) => socket.closed === undefined).length;
  }

  #tellOf({ channel, stream, followers }: Growing, frame: object): void {
    for (const socket of followers) this.#say(socket, { ...frame, channel, id: stream });
  }

  /** Answers who asks for a stream. */
  #stream(socket: FakeSocket, { ref, channel, id, run, offset }: Op): object {
    const growing = this.growing.get(`${channel}${id}`);
    if (!growing) return { event: 'error', ref, code: 'not_found', message: 'no such stream', retry: false };
    const { text, state, error } = growing;
    if (state === 'streaming') growing.followers.add(socket);
    const from = run === growing.run ? (offset as number) : 0;
    const rest = Buffer.from(text).subarray(from).toString();
    return { event: 'stream', ref, channel, id, run: growing.run, state, error, ts: 1, offset: from, ...(rest ? { text: rest } : {}), next: bytes(text) };
  }

  /** Sends everybody away for a while. */
  bye(): void {
    for (const request of this.streams()) void request.send(control('ren.bye', this.head, { reason: 'rotate', retryMs: 1000 }));
    for (const socket of this.sockets()) this.#say(socket, { event: 'bye', reason: 'closing', retryMs: 1000, cursor: cursor(this.head) });
  }

  /** Every connection breaks. */
  async cut(): Promise<void> {
    for (const request of this.streams()) await request.cut();
    for (const socket of this.sockets()) await socket.drop();
  }

  async #ren(request: FakeRequest): Promise<void> {
    if (request.aborted) return;
    const since = request.headers.get('Last-Event-ID');
    const seq = since && !this.forgets ? +since.slice(2) : this.head;
    this.#streams.add(request);
    const hello = { state: !since ? 'fresh' : this.forgets ? 'reset' : 'resumed', src: tag(request.headers.get('X-Ren-Client')!), userId: this.user, domains: this.domains };
    await request.stream(control('ren.hello', seq, hello) + this.log.slice(seq).map(ren).join(''));
  }

  #op(socket: FakeSocket, op: Op): void {
    if (socket.closed !== undefined || !this.answers) return;
    const { ref, channel = '' } = op;
    const cid = op['cid'] as string;
    const channels = this.#channels.get(socket);
    if (op.op === 'hello' && channels) return this.#say(socket, { event: 'ok', ref, expiresIn: this.expiresIn });
    if (op.op === 'hello') {
      this.#channels.set(socket, new Set());
      return this.#say(socket, { event: 'hello', src: tag(cid), userId: this.user, cursor: cursor(this.head), limits: this.limits, expiresIn: this.expiresIn });
    }
    if (op.op === 'subscribe') {
      const first = !channels!.has(channel);
      channels!.add(channel);
      const reset = first && op.since && this.forgets;
      const seq = op.since && !reset ? +op.since.slice(2) : this.head;
      const state = reset ? 'reset' : first && !op.since ? 'fresh' : 'resumed';
      const replay = first ? this.log.slice(seq).filter((entry) => entry.channel === channel).map(message) : [];
      return this.#say(socket, { event: 'subscribed', ref, channel, state, ...(first ? { cursor: cursor(seq) } : {}) }, ...replay);
    }
    if (op.op === 'stream') return this.#say(socket, this.#stream(socket, op));
    const growing = this.growing.get(`${channel}${op.id}`);
    if (op.op === 'unstream') growing?.followers.delete(socket);
    if (op.op === 'unsubscribe') channels!.delete(channel);
    if (op.op === 'join' || op.op === 'leave') this.presence.push(`${op.op} ${cid} ${channel} ${op['userId']}`);
    if (op.op === 'publish' && !this.published.has(cid + op.id)) {
      this.published.add(cid + op.id);
      this.publish(channel, op['data'], tag(cid));
    }
    this.#say(socket, { event: 'ok', ref });
    if (op.op === 'stop' && growing?.state === 'streaming') this.finish(growing, 'cancelled');
  }

  #say(socket: FakeSocket, ...frames: object[]): void {
    if (socket.closed === undefined) socket.say(...frames);
  }
}

export const tag = (cid: string): string => 'tag of ' + cid;
const bytes = (text: string): number => Buffer.byteLength(text);
const cursor = (seq: number): string => 'e.' + seq;
const message = ({ seq, channel, data, from }: Entry): object => ({ event: 'message', channel, data, from, ts: 1, id: cursor(seq) });
const ren = ({ seq, channel, data, from }: Entry): string =>
  `id: ${cursor(seq)}\ndata: ${JSON.stringify({ t: 'realtime.message', r: 'realtime', ch: channel, data, src: from })}\n\n`;
const control = (event: string, seq: number, more: object): string =>
  `event: ${event}\nid: ${cursor(seq)}\ndata: ${JSON.stringify({ cursor: cursor(seq), ...more })}\n\n`;
