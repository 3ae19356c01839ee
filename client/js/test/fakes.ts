// A page, a network and a clock for tests: nothing here waits, and nothing leaves the process.
import { mock } from 'node:test';

/** Lets promises and streams get on; timers do not move. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 8; i++) await new Promise((done) => setImmediate(done));
}

/** Moves the clock, and lets everything get on at each moment at which a timer fires. */
export async function pass(ms: number): Promise<void> {
  const end = clock.now + ms;
  await settle();
  while (clock.now < end) {
    clock.tick(Math.min(clock.next, end) - clock.now);
    await settle();
  }
}

/**
 * Stands in for setTimeout, Date.now and performance.now. Those of node:test do not do: in Node 20, clearing a timer that has
 * fired removes another one.
 */
class FakeClock {
  /** What Date.now says, unless it is fixed. */
  now = 0;
  /** What performance.now says, which nobody sets. */
  steps = 0;
  /** What Date.now always says, as in a test with a fixed time. */
  fixed: number | undefined;
  /** Has a callback run in the context it was given in. */
  /** The tab whose script is running. */
  tab = (): unknown => undefined;
  /** How to run something later as the tab that is running now would. */
  enter = (): ((cb: () => void) => void) => (cb) => cb();
  bind = (cb: () => void): (() => void) => cb;
  #timers = new Map<number, { at: number; cb: () => void }>();
  #id = 0;

  install(now: number): void {
    this.now = now;
    this.fixed = undefined;
    this.#timers.clear();
    globals['setTimeout'] = (cb: () => void, ms: number): number => {
      this.#timers.set(++this.#id, { at: this.now + ms, cb: this.bind(cb) });
      return this.#id;
    };
    globals['clearTimeout'] = (id: number): void => void this.#timers.delete(id);
    Date.now = () => this.fixed ?? this.now;
    performance.now = () => this.steps;
  }

  #go(to: number): void {
    this.steps += to - this.now;
    this.now = to;
  }

  tick(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const [next] = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at);
      if (!next) break;
      this.#go(next[1].at);
      this.#timers.delete(next[0]);
      next[1].cb();
    }
    this.#go(end);
  }

  /** When the next timer fires; Infinity where none runs. */
  get next(): number {
    return Math.min(Infinity, ...[...this.#timers.values()].map(({ at }) => Math.max(at, this.now)));
  }

  /** How many timers run. */
  get timers(): number {
    return this.#timers.size;
  }

  /** The clock goes on, and neither timers nor performance.now notice: the machine sleeps, or somebody sets the clock, back if `ms` is negative. */
  sleep(ms: number): void {
    this.now += ms;
    for (const timer of this.#timers.values()) timer.at += ms;
  }
}

const globals = globalThis as unknown as Record<string, unknown>;

export const clock = new FakeClock();

export class FakeStorage {
  items = new Map<string, string>();
  getItem = (key: string): string | null => this.items.get(key) ?? null;
  setItem = (key: string, value: string): void => void this.items.set(key, value);
  removeItem = (key: string): void => void this.items.delete(key);
}

/** The events a page gets from its browser. */
export class FakePage {
  window: EventTarget = new EventTarget();
  document = Object.assign(new EventTarget(), { hidden: false });

  install(): void {
    globals['addEventListener'] = this.window.addEventListener.bind(this.window);
    globals['document'] = this.document;
    globals['location'] = new URL('https://app.example/page');
    globals['localStorage'] = new FakeStorage();
    globals['sessionStorage'] = new FakeStorage();
  }

  fire(type: 'online' | 'pagehide' | 'pageshow'): void {
    this.window.dispatchEvent(new Event(type));
  }

  /** The browser stops the page where it is, or lets it go on. */
  life(type: 'freeze' | 'resume'): void {
    this.pass(new Event(type), this.document);
  }

  look(visibilityState: 'visible' | 'hidden'): void {
    this.document.hidden = visibilityState === 'hidden';
    this.pass(new Event('visibilitychange'), this.document);
  }

  /** An event of the document, or of something in it, passes the window, where capturing hears it. */
  pass(event: Event, target: object): void {
    Object.defineProperty(event, 'target', { value: target });
    this.window.dispatchEvent(event);
  }
}

/** One request that a client made, to be answered by the test. */
export class FakeRequest {
  url: URL;
  headers: Headers;
  answered: Promise<Response>;
  #answer!: (answer: Response) => void;
  #fail!: (error: unknown) => void;
  #body: ReadableStreamDefaultController<Uint8Array> | undefined;

  tab: unknown = clock.tab();
  /** When it was made. */
  at: number = clock.now;
  /** Whether the tab that asked has been killed. */
  gone = false;

  constructor(public input: RequestInfo | URL, public init: RequestInit = {}) {
    this.url = new URL(input instanceof Request ? input.url : String(input), 'https://app.example/page');
    this.headers = new Headers(init.headers);
    this.answered = new Promise((done, fail) => ([this.#answer, this.#fail] = [done, fail]));
    init.signal?.addEventListener('abort', () => {
      this.#fail(init.signal?.reason);
      try {
        this.#body?.error(init.signal?.reason);
      } catch {
        // ended before
      }
    });
  }

  get aborted(): boolean {
    return this.gone || (this.init.signal?.aborted ?? false);
  }

  async answer(status: number, headers: Record<string, string> = {}, body: string | null = null): Promise<void> {
    this.#answer(new Response(body, { status, headers }));
    await settle();
  }

  async respond(answer: Response): Promise<void> {
    this.#answer(answer);
    await settle();
  }

  async fail(): Promise<void> {
    this.#fail(new TypeError('fetch failed'));
    await settle();
  }

  /** Answers with an event stream. */
  async stream(text = ''): Promise<void> {
    const body = new ReadableStream<Uint8Array>({ start: (controller) => void (this.#body = controller) });
    this.#answer(new Response(body, { headers: { 'Content-Type': 'text/event-stream' } }));
    await this.send(text);
  }

  async send(text: string): Promise<void> {
    this.#body!.enqueue(new TextEncoder().encode(text));
    await settle();
  }

  async end(): Promise<void> {
    this.#body!.close();
    await settle();
  }

  async cut(): Promise<void> {
    this.#body!.error(new TypeError('network error'));
    await settle();
  }
}

/** Every request since the test began. */
export const requests: FakeRequest[] = [];

/** Answers requests, unless the test does. */
export const serveFetch: { with: ((request: FakeRequest) => void) | undefined } = { with: undefined };

export function installFetch(): void {
  requests.length = 0;
  serveFetch.with = undefined;
  globalThis.fetch = (input, init) => {
    const request = new FakeRequest(input as RequestInfo, init);
    requests.push(request);
    serveFetch.with?.(request);
    return request.answered;
  };
}

/** Frames as a client sends them. */
export type Op = { op: string; ref?: number; channel?: string; id?: string; since?: string } & Record<string, unknown>;

/** What a server allows unless told otherwise. */
export const limits = { message: 65_536, channels: 100, metadata: 1024, rate: 30, burst: 60 };

/** The far end of one WebSocket. */
export class FakeSocket {
  static all: FakeSocket[] = [];
  /** Answers what is sent, unless the test does. */
  static serve: ((socket: FakeSocket, op: Op) => void) | undefined;
  static opened: ((socket: FakeSocket) => void) | undefined;
  url: string;
  tab: unknown = clock.tab();
  /** When it was made. */
  at: number = clock.now;
  sent: Op[] = [];
  /** What was sent after the end, of which a browser complains in the console. */
  static late: string[] = [];
  #open = false;
  closed: number | undefined;
  onopen: (() => void) | undefined;
  onmessage: ((event: { data: unknown }) => void) | undefined;
  onclose: ((event: { code: number }) => void) | undefined;
  onerror: ((event: object) => void) | undefined;
  /** Runs a handler as its tab would. */
  in: (cb: () => void) => void = clock.enter();

  constructor(url: string | URL, public protocol: string) {
    this.url = String(url);
    FakeSocket.all.push(this);
    FakeSocket.opened?.(this);
  }

  static install(): void {
    FakeSocket.all = [];
    FakeSocket.late = [];
    FakeSocket.serve = FakeSocket.opened = undefined;
    globals['WebSocket'] = FakeSocket;
  }

  static get last(): FakeSocket {
    return FakeSocket.all.at(-1)!;
  }

  /** The connection is there. */
  open(): void {
    this.#open = true;
    this.in(() => this.onopen?.());
  }

  send(text: string): void {
    if (!this.#open) throw new DOMException('Still in CONNECTING state', 'InvalidStateError');
    if (this.closed !== undefined) return void FakeSocket.late.push(text);
    this.sent.push(JSON.parse(text) as Op);
    FakeSocket.serve?.(this, this.sent.at(-1)!);
  }

  close(code: number): void {
    if (this.closed !== undefined) return;
    this.closed = code;
    queueMicrotask(() => this.in(() => this.onclose?.({ code })));
  }

  /** The server says something: several objects make one frame. */
  say(...frames: object[]): void {
    this.in(() => this.onmessage?.({ data: frames.map((frame) => JSON.stringify(frame)).join('\n') }));
  }

  /** Opens, hears the hello, and greets. */
  async greet(more: object = {}): Promise<void> {
    await settle();
    this.open();
    this.say({ event: 'hello', src: 'MYTAG', cursor: 'c0', limits, ...more });
    await settle();
  }

  /** The connection ends from outside. */
  async drop(code = 1006): Promise<void> {
    this.closed = code;
    this.in(() => this.onclose?.({ code }));
    await settle();
  }

  /** It fails, and says nothing else, as that of Node 22 does. */
  async fail(): Promise<void> {
    this.closed = 1006;
    this.in(() => this.onerror?.({}));
    await settle();
  }

  ops(op: string): Op[] {
    return this.sent.filter((frame) => frame.op === op);
  }

  /** Answers what was asked last with this op. */
  answer(op: string, frame: object = { event: 'ok' }): void {
    const { ref, channel } = this.ops(op).at(-1)!;
    this.say({ ...(op === 'subscribe' ? { channel } : {}), ref, ...frame });
  }
}

/** A fresh page, network and clock. */
export function begin(): FakePage {
  clock.install(1_795_465_200_000);
  installFetch();
  FakeSocket.install();
  const page = new FakePage();
  page.install();
  return page;
}

/** Runs `body` with a Math.random that gives `value`. */
export function dice(value: number): void {
  mock.method(Math, 'random', () => value);
}
