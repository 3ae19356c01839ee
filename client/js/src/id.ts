import { on } from './life.js';

let clientId: string | undefined;

/**
 * The client id of this tab: a part the tabs of a browser share (localStorage), a dot, and a part of the tab's own, which
 * survives a reload (sessionStorage) but is not copied when the tab is duplicated. 49 characters of `[a-v0-9.]`, random.
 * Where storage is missing or forbidden, it lasts as long as the page.
 */
export function getOrCreateClientId(): string {
  return (clientId ??= create());
}

function create(): string {
  const [browser, storeBrowser] = part('localStorage', 'ren.browser');
  const [tab, storeTab] = part('sessionStorage', 'ren.tab');
  // A duplicated tab begins with a copy of sessionStorage, so the part stands there only while the page does not live.
  const take = (): void => storeTab('');
  storeBrowser(browser);
  take();
  on('pagehide', () => storeTab(tab));
  on('pageshow', take);
  return browser + '.' + tab;
}

/** 24 random characters, 120 bits. */
export function random(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(24)), (byte) => (byte & 31).toString(32)).join('');
}

type Area = 'localStorage' | 'sessionStorage';

/** A part of the client id, the stored one if there is any, and how to store it, or '' in its place. */
function part(area: Area, key: string): [string, (value: string) => void] {
  return [
    /^[\w-]{8,31}$/.exec(read(area, key) ?? '')?.[0] ?? random(),
    (value) => {
      try {
        globalThis[area].setItem(key, value);
      } catch {
        // memory has it
      }
    },
  ];
}

/** What is stored; null where nothing is, undefined where nothing may be read. */
export function read(area: Area, key: string): string | null | undefined {
  try {
    return globalThis[area].getItem(key);
  } catch {
    return undefined;
  }
}
