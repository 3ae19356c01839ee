import { on } from './life.js';

let clientId: string | undefined;

/**
 * The client id of this tab: a part the tabs of a browser share (localStorage), a dot, and a part of the tab's own, which
 * survives a reload (sessionStorage) but is not copied when the tab is duplicated. Digits and a dot, at most 61 of them.
 * Where storage is missing or forbidden, it lasts as long as the page.
 */
export function getOrCreateClientId(): string {
  return (clientId ??= create());
}

function create(): string {
  const browser = part('localStorage', 'ren.browser');
  const tab = part('sessionStorage', 'ren.tab');
  // A duplicated tab begins with a copy of sessionStorage, so the part stands there only while the page does not live.
  const take = (): unknown => stored('sessionStorage', 'ren.tab', 'taken');
  take();
  on('pagehide', () => stored('sessionStorage', 'ren.tab', tab));
  on('pageshow', take);
  return browser + '.' + tab;
}

/** At most 30 random digits, 96 bits. */
export function random(): string {
  return crypto.getRandomValues(new Uint32Array(3)).join('');
}

type Area = 'localStorage' | 'sessionStorage';

/** A part of the client id: what is stored, if it can be one, else what is from now on. */
function part(area: Area, key: string): string {
  const value = /^\w{8,31}$/.exec(stored(area, key)!)?.[0] ?? random();
  stored(area, key, value);
  return value;
}

/** What is stored, or the value that now is; null where nothing is, or may be. */
export function stored(area: Area, key: string, value?: string): string | null {
  try {
    const storage = globalThis[area];
    if (value) storage.setItem(key, value);
    return storage.getItem(key);
  } catch {
    return null; // memory has it
  }
}
