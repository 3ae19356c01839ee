import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { RealtimeClient } from '../src/realtime.js';
import { begin, FakeSocket, FakeStorage, settle, type FakePage } from './fakes.js';

export { getOrCreateClientId } from '../src/id.js';

/** What a page that loads this module gets: its own memory, on whatever page stands in the globals. */
let pages = 0;
async function load(): Promise<() => string> {
  const module = (await import(`${import.meta.url}?page=${++pages}`)) as { getOrCreateClientId: () => string };
  return module.getOrCreateClientId;
}

const globals = globalThis as unknown as Record<string, unknown>;

/** Another document with the storage of the page before, as a reload leaves it. */
function reload(page: FakePage): FakePage {
  page.fire('pagehide');
  const { localStorage, sessionStorage } = globalThis;
  const next = begin();
  Object.assign(globals, { localStorage, sessionStorage });
  return next;
}

function copyOfSession(): FakeStorage {
  const copy = new FakeStorage();
  copy.items = new Map((globalThis.sessionStorage as unknown as FakeStorage).items);
  return copy;
}

/** One page or frame, with its own memory. What stands in the globals is of the one that runs. */
class Doc {
  page: FakePage = begin();
  id!: string;
  get!: () => string;
  live = true;
  window: { parent: object };

  constructor(public tab: BrowserTab, public frames: number[] = []) {
    this.window = windowOf(tab, frames);
    tab.docs.add(this);
  }

  static async open(tab: BrowserTab, frames?: number[]): Promise<Doc> {
    const doc = new Doc(tab, frames);
    doc.enter();
    doc.get = await load();
    doc.id = doc.get();
    return doc;
  }

  enter(): void {
    this.page.install();
    Object.assign(globals, { localStorage: this.tab.local, sessionStorage: this.tab.session, window: this.window });
  }

  /** The page goes: for good, or into the cache. */
  hide(): void {
    this.live = false;
    this.tab.docs.delete(this);
    this.enter();
    this.page.fire('pagehide');
  }

  show(): void {
    this.live = true;
    this.tab.docs.add(this);
    this.enter();
    this.page.fire('pageshow');
    this.id = this.get();
  }
}

/** A tab: its frames are `0` and `1` of the page, each of them with two of their own. */
class BrowserTab {
  session: FakeStorage = new FakeStorage();
  docs = new Set<Doc>();
  top: object[] = [];

  constructor(public local: FakeStorage) {}

  duplicate(): BrowserTab {
    const copy = new BrowserTab(this.local);
    copy.session.items = new Map(this.session.items);
    return copy;
  }
}

/** As much of a WindowProxy as a foreign frame is shown, too. */
function windowOf(tab: BrowserTab, frames: number[]): { parent: object } {
  const make = (depth: number, parent?: object): { parent: object; length: number } => {
    const made: { parent: object; length: number; [index: number]: object } = { parent: parent ?? {}, length: 0 };
    if (!parent) made.parent = made;
    if (depth < 2) for (let i = 0; i < 2; i++) made[made.length++] = make(depth + 1, made);
    return made;
  };
  tab.top[0] ??= make(0);
  return frames.reduce((window, i) => (window as unknown as { parent: object }[])[i]!, tab.top[0] as { parent: object });
}

function frameTests(): void {
  test('a page and its frames have an id each, which a reload of the page keeps', async () => {
    const tab = new BrowserTab(new FakeStorage());
    const places = [[], [0], [1], [0, 0], [0, 1], [1, 0]];
    const open = async (): Promise<Doc[]> => {
      const docs: Doc[] = [];
      for (const place of places) docs.push(await Doc.open(tab, place));
      return docs;
    };
    const before = await open();
    assert.equal(new Set(before.map(({ id }) => id)).size, places.length);
    assert.equal(new Set(before.map(({ id }) => id.split('.')[0])).size, 1);
    for (const order of [before, [...before].reverse()]) {
      for (const doc of order) doc.hide();
      const after = await open();
      assert.deepEqual(after.map(({ id }) => id), before.map(({ id }) => id));
      before.splice(0, before.length, ...after);
    }
  });

  test('a frame that is loaded again, or another one in its place, takes nothing of the page', async () => {
    const tab = new BrowserTab(new FakeStorage());
    const page = await Doc.open(tab);
    const frame = await Doc.open(tab, [0]);
    frame.hide();
    const copy = tab.duplicate(); // of which the frame that has gone is one, too
    const next = await Doc.open(tab, [0]);
    assert.equal(next.id, frame.id);
    const ids = [page.id, next.id, (await Doc.open(copy)).id, (await Doc.open(copy, [0])).id];
    assert.equal(new Set(ids).size, 4);
    next.hide();
    page.hide();
    assert.equal((await Doc.open(tab)).id, page.id);
  });

  test('a tab that is duplicated while it shows another site begins with an id of its own', async () => {
    const tab = new BrowserTab(new FakeStorage());
    const page = await Doc.open(tab);
    page.hide();
    const copy = tab.duplicate();
    const [first, second] = [await Doc.open(tab), await Doc.open(copy)];
    assert.equal(first.id, page.id);
    assert.notEqual(second.id, page.id);
    second.hide();
    assert.equal((await Doc.open(copy)).id, second.id);
  });

  test('a page that comes back from the cache to find its id taken takes another', async () => {
    const tab = new BrowserTab(new FakeStorage());
    const page = await Doc.open(tab);
    const before = page.id;
    page.hide();
    const other = await Doc.open(tab.duplicate());
    assert.equal(other.id, before);
    page.show();
    assert.notEqual(page.id, before);
    page.hide();
    assert.equal((await Doc.open(tab)).id, page.id);
  });

  test('so does one whose tab has shown a page with yet another id meanwhile', async () => {
    const tab = new BrowserTab(new FakeStorage());
    const page = await Doc.open(tab);
    page.hide();
    const other = await Doc.open(tab.duplicate());
    const between = await Doc.open(tab);
    between.hide();
    page.show();
    assert.equal(new Set([page.id, other.id, between.id]).size, 3);
  });

  test('the clients of a page that has to take another id take it, too', async () => {
    const page = begin();
    const rt = new RealtimeClient();
    rt.connect();
    await settle();
    await FakeSocket.last.greet();
    const before = rt.getClientId();
    page.fire('pagehide');
    const [, own] = before.split('.');
    globalThis.localStorage.setItem('ren.taken.' + own!.slice(-3), own!);
    page.fire('pageshow');
    await settle();
    FakeSocket.last.open();
    const cid = FakeSocket.last.sent[0]!['cid'];
    assert.notEqual(cid, before);
    assert.equal(cid, rt.getClientId());
    rt.disconnect();
  });

  test('pages that are closed leave nothing, and those that crash little', async () => {
    const local = new FakeStorage();
    for (let i = 0; i < 1100; i++) {
      const doc = await Doc.open(new BrowserTab(local));
      if (i < 10) doc.hide();
      if (i < 10) assert.deepEqual([...local.items.keys()], ['ren.browser']);
    }
    assert.equal(local.items.size, 1001);
  });

  test('where only one storage may be used ids are still of one page each', async () => {
    for (const area of ['local', 'session'] as const) {
      const tab = new BrowserTab(new FakeStorage());
      tab[area].getItem = tab[area].setItem = () => {
        throw new DOMException('no', 'SecurityError');
      };
      const docs = [await Doc.open(tab), await Doc.open(tab, [0]), await Doc.open(tab.duplicate())];
      const ids = docs.map(({ id }) => id);
      for (const doc of docs) doc.show();
      assert.deepEqual([new Set(ids).size, docs.map(({ id }) => id)], [3, ids], area);
    }
  });

  for (const first of [1, 2, 3, 4, 5, 6]) test(`pages and frames live as they like: no two of them have one id (${first})`, async () => {
    let seed = first * 7919;
    const random = (n: number): number => (seed = (seed * 48271) % 0x7fffffff) % n;
    const local = new FakeStorage();
    const tabs = [new BrowserTab(local)];
    const cached: Doc[] = [];
    let kept = 0;
    for (let step = 0; step < 150; step++) {
      const what = random(7);
      const tab = tabs[random(tabs.length)]!;
      const page = [...tab.docs].find(({ frames }) => !frames.length);
      const frame = [...tab.docs].find(({ frames }) => frames.length);
      if (what === 0 && tabs.length < 6) tabs.push(new BrowserTab(local));
      else if (what === 1 && tabs.length < 6) tabs.push(tab.duplicate());
      else if (what === 2) frame?.hide();
      else if (what === 3 && page) {
        const before = page.id;
        for (const doc of [...tab.docs]) doc.hide();
        if (random(2)) cached.push(page);
        else if (random(2)) {
          const { id } = await Doc.open(tab);
          assert.equal(id, before, 'a reload');
          kept++;
        }
      } else if (what === 4) {
        const back = cached.findIndex((doc) => doc.tab === tab);
        if (back >= 0 && !page) cached.splice(back, 1)[0]!.show();
      } else {
        const free = [[], [0], [1], [0, 1]].filter((place) => ![...tab.docs].some(({ frames }) => String(frames) === String(place)));
        if (free[0]) await Doc.open(tab, page ? free[random(free.length)] : []);
      }
      const ids = tabs.flatMap(({ docs }) => [...docs].map(({ id }) => id));
      assert.equal(new Set(ids).size, ids.length, `step ${step}`);
    }
    assert.ok(kept, 'nobody has reloaded');
  });
}

function tests(): void {
  test('a client id is of a browser part and a tab part, and stays', async () => {
    begin();
    const id = await load();
    assert.match(id(), /^[\w-]+\.[\w-]+$/);
    assert.match(id(), /^[A-Za-z0-9._-]{16,64}$/);
    assert.equal(id(), id());
  });

  test('a reload keeps the id', async () => {
    const page = begin();
    const before = (await load())();
    reload(page);
    assert.equal((await load())(), before);
  });

  test('a duplicated tab gets its own tab part and keeps the browser part', async () => {
    begin();
    const first = (await load())();
    const copy = copyOfSession();
    const { localStorage } = globalThis;
    begin();
    Object.assign(globals, { localStorage, sessionStorage: copy });
    const second = (await load())();
    assert.notEqual(second, first);
    assert.equal(second.split('.')[0], first.split('.')[0]);
  });

  test('a tab duplicated after a reload gets its own, too', async () => {
    reload(begin());
    globalThis.sessionStorage.setItem('ren.tab', 'a'.repeat(24));
    assert.match((await load())(), /\.a{24}$/);
    assert.equal(copyOfSession().getItem('ren.tab'), 'taken');
  });

  test('a tab duplicated after the page came back from the cache gets its own, too', async () => {
    const page = begin();
    const first = (await load())();
    page.fire('pagehide');
    page.fire('pageshow');
    const copy = copyOfSession();
    assert.equal(copy.getItem('ren.tab'), 'taken');
    page.fire('pagehide');
    assert.equal([...copyOfSession().items.values()][0], first.split('.')[1]);
  });

  test('what somebody else stored is not taken for a part', async () => {
    begin();
    globalThis.localStorage.setItem('ren.browser', 'not a part of it');
    globalThis.sessionStorage.setItem('ren.tab', 'x'.repeat(100));
    assert.match((await load())(), /^[A-Za-z0-9._-]{16,64}$/);
  });

  for (const [name, storage] of [['that throws', 'throw'], ['that is missing', 'none']] as const) {
    test('with storage ' + name + ' the id lasts as long as the page', async () => {
      const page = begin();
      for (const area of ['localStorage', 'sessionStorage']) {
        Object.defineProperty(globalThis, area, {
          configurable: true,
          get: () => {
            if (storage === 'throw') throw new Error('SecurityError');
            return undefined;
          },
        });
      }
      const id = await load();
      const first = id();
      page.fire('pagehide');
      page.fire('pageshow');
      assert.match(first, /^[A-Za-z0-9._-]{16,64}$/);
      assert.equal(id(), first);
      for (const area of ['localStorage', 'sessionStorage']) delete globals[area];
    });
  }

  test('outside of pages nobody looks for storage, of which Node 25 warns', async () => {
    begin();
    delete globals['document'];
    const looked: string[] = [];
    for (const area of ['localStorage', 'sessionStorage']) Object.defineProperty(globalThis, area, { configurable: true, get: () => void looked.push(area) });
    assert.match((await load())(), /^[A-Za-z0-9._-]{16,64}$/);
    new RealtimeClient({ clientId: 'client-of-this-worker' }).connect();
    assert.deepEqual(looked, []);
  });

  test('without a page there is an id', async () => {
    begin();
    for (const name of ['addEventListener', 'document', 'location', 'localStorage', 'sessionStorage']) delete globals[name];
    assert.match((await load())(), /^[A-Za-z0-9._-]{16,64}$/);
  });
}

if (!new URL(import.meta.url).search) {
  let made = 1e9;
  beforeEach(() => {
    // The last digits say where a part is noted, and must be different here.
    mock.method(crypto, 'getRandomValues', (array: Uint32Array) => array.fill(made++));
  });
  afterEach(() => {
    for (const name of ['window', 'localStorage', 'sessionStorage']) delete globals[name];
    mock.restoreAll();
  });
  tests();
  frameTests();
}
