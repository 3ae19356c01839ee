import assert from 'node:assert/strict';
import { test } from 'node:test';
import { begin, FakeStorage, type FakePage } from './fakes.js';

export { getOrCreateClientId } from '../src/id.js';

/** What a page that loads this module anew gets: its own memory, on whatever page stands in the globals. */
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

  test('without a page there is an id', async () => {
    begin();
    for (const name of ['addEventListener', 'document', 'location', 'localStorage', 'sessionStorage']) delete globals[name];
    assert.match((await load())(), /^[A-Za-z0-9._-]{16,64}$/);
  });
}

if (!new URL(import.meta.url).search) tests();
