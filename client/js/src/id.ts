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
  const browser = part('localStorage', 'ren.browser');
  const tab = part('sessionStorage', 'ren.tab');
  const store = (value: string) => () => stored('sessionStorage', 'ren.tab', value);
  // A duplicated tab begins with a copy of sessionStorage, so the part stands there only while the page does not live.
  const take = store('');
  stored('localStorage', 'ren.browser', browser);
  take();
  on('pagehide', store(tab));
  on('pageshow', take);
  return browser + '.' + tab;
}

/** 24 random characters, 120 bits. */
export function random(): string {
  return [...crypto.getRandomValues(new Uint8Array(24))].map((byte) => (byte & 31).toString(32)).join('');
}

type Area = 'localStorage' | 'sessionStorage';

/** A part of the client id: what is stored, if it can be one. */
function part(area: Area, key: string): string {
  return /^[\w-]{8,31}$/.exec(stored(area, key) ?? '')?.[0] ?? random();
}

/** What is stored, or the value that now is; undefined where nothing may be. */
export function stored(area: Area, key: string, value?: string): string | null | undefined {
  try {
    const storage = globalThis[area];
    if (value !== undefined) storage.setItem(key, value);
    return storage.getItem(key);
  } catch {
    return undefined; // memory has it
  }
}
