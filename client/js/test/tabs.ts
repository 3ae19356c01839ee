// Several tabs of one browser, in one process: what each of them does is known by its asynchronous context, so that one can
// be killed, with its locks, channels, sockets and timers.
import { AsyncLocalStorage } from 'node:async_hooks';
import { setMaxListeners } from 'node:events';
import { clock, FakePage, FakeSocket, requests, settle } from './fakes.js';

const globals = globalThis as unknown as Record<string, unknown>;
const current = new AsyncLocalStorage<Tab>();

export class Tab {
  dead = false;
  /** What is said to it while it hangs. */
  hung: (() => void)[] | undefined;
  page: FakePage = new FakePage();

  /** Runs something as a script of this tab would. */
  run<T>(body: () => T): T {
    return current.run(this, body);
  }

  hang(): void {
    this.hung = [];
  }

  wake(): void {
    const { hung } = this;
    this.hung = undefined;
    hung?.forEach((cb) => cb());
  }

  /** The tab is killed: nothing of it says goodbye. */
  async kill(): Promise<void> {
    this.dead = true;
    for (const channel of [...Channel.all]) if (channel.tab === this) channel.close();
    for (const socket of FakeSocket.all) if (socket.tab === this) socket.closed ??= 1001;
    for (const request of requests) if (request.tab === this) request.gone = true;
    locks.kill(this);
    await settle();
  }
}

/** Has what `cb` does be of the tab that is current now; dead tabs do nothing. */
export function bound<Args extends unknown[]>(cb: (...args: Args) => void): (...args: Args) => void {
  const tab = current.getStore();
  return (...args) => {
    if (!tab) cb(...args);
    else if (!tab.dead) tab.run(() => cb(...args));
  };
}

/** BroadcastChannel: one order for all. */
class Channel {
  static all = new Set<Channel>();
  static log: unknown[] = [];
  /** Whether nothing is delivered. */
  static mute = false;
  tab = current.getStore();
  onmessage: ((event: { data: unknown }) => void) | undefined;

  constructor(public name: string) {
    Channel.all.add(this);
  }

  postMessage(data: unknown): void {
    const copy = structuredClone(data);
    if (this.tab?.dead) return;
    if (!Channel.all.has(this)) throw new Error('closed');
    Channel.log.push(copy);
    for (const other of Channel.all) {
      if (Channel.mute || other === this || other.name !== this.name) continue;
      setImmediate(() => {
        const tell = (): void => void (Channel.all.has(other) && other.onmessage?.({ data: copy }));
        if (other.tab?.hung) other.tab.hung.push(() => other.tab!.run(tell));
        else if (other.tab) other.tab.run(tell);
        else tell();
      });
    }
  }

  close(): void {
    Channel.all.delete(this);
  }
}

interface Request {
  name: string;
  tab: Tab | undefined;
  granted: boolean;
  grant(lock: object | null): void;
  end(error?: Error): void;
}

/** Web Locks, exclusive ones. */
class Locks {
  queue: Request[] = [];
  /** Whether the browser lets nobody have one, as it does where storage is forbidden. */
  forbidden = false;
  /** Whether the browser answers nobody, or nobody who asks for the lock of a group. */
  silent: boolean | 'groups' = false;

  request(name: string, options: LockOptions, cb: (lock: object | null) => unknown): Promise<unknown> {
    if (this.forbidden) return Promise.reject(new DOMException('no', 'SecurityError'));
    if (this.silent === true || (this.silent && name.startsWith('['))) return new Promise(() => {});
    return new Promise((resolve, reject) => {
      const call = bound((lock: object | null) => {
        Promise.resolve(cb(lock)).then((value) => {
          if (this.queue.includes(request)) {
            request.end();
            resolve(value);
          } else if (!lock) resolve(value);
        }, reject);
      });
      const request: Request = {
        name, tab: current.getStore(), granted: false, grant: (lock) => setImmediate(() => call(lock)),
        end: (error) => {
          this.queue = this.queue.filter((other) => other !== request);
          if (error) reject(error);
          this.pump();
        },
      };
      const holder = this.queue.find((other) => other.name === name);
      // The answer comes from another process, so that messages can come before it.
      if (options.ifAvailable && holder) return void setImmediate(() => setImmediate(() => request.grant(null)));
      if (options.steal) {
        const holders = this.queue.filter((other) => other.name === name && other.granted);
        this.queue.unshift(request);
        for (const other of holders) other.end(new DOMException('stolen', 'AbortError'));
      } else this.queue.push(request);
      options.signal?.addEventListener('abort', () => {
        if (!request.granted && this.queue.includes(request)) request.end(new DOMException('aborted', 'AbortError'));
      });
      this.pump();
    });
  }

  pump(): void {
    const seen = new Set<string>();
    for (const request of this.queue) {
      if (!seen.has(request.name) && !request.granted) {
        request.granted = true;
        request.grant({});
      }
      seen.add(request.name);
    }
  }

  held(part: string): number {
    return this.queue.filter(({ name, granted }) => granted && name.startsWith(part)).length;
  }

  kill(tab: Tab): void {
    this.queue = this.queue.filter((request) => request.tab !== tab);
    this.pump();
  }
}

export const locks = new Locks();

/** Has the browser deliver nothing of what tabs say to each other. */
export function mute(): void {
  Channel.mute = true;
}

/** What is said between tabs since the test began. */
export const said = (): unknown[] => Channel.log;

export function installTabs(): void {
  Channel.all.clear();
  Channel.log = [];
  locks.queue = [];
  locks.forbidden = locks.silent = Channel.mute = false;
  globals['BroadcastChannel'] = Channel;
  globals['isSecureContext'] = true;
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { locks } });
  const page = new FakePage();
  globals['addEventListener'] = (...args: Parameters<EventTarget['addEventListener']>) =>
    (current.getStore()?.page ?? page).window.addEventListener(...args);
  Object.defineProperty(globalThis, 'document', {
    configurable: true, get: () => (current.getStore()?.page ?? page).document, set: (document: FakePage['document']) => void (page.document = document),
  });
  clock.bind = bound;
  setMaxListeners(100);
  clock.tab = () => current.getStore();
  clock.enter = () => bound((cb: () => void) => cb());
}
