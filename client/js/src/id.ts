import { onPage } from './pageLifecycle.js';

let clientId: string | undefined;

/**
 * The client id of this page, or of this frame of it: a part the tabs of a browser share (localStorage), a dot, and a part of
 * the frame's own, which survives a reload (sessionStorage) but is not copied when the tab is duplicated. Digits and a dot, at
 * most 61 of them. Where storage is missing or forbidden, it lasts as long as the page.
 */
export function getOrCreateClientId(): string {
  if (clientId) return clientId;
  let key = 'ren.tab'; // and the place of the frame, as those of a tab share its sessionStorage
  for (let frame = globalThis.window, parent: Window; (parent = frame?.parent) && parent !== frame; frame = parent as typeof window)
    key += '.' + [].indexOf.call(parent as never, frame as never);
  const browser = part('localStorage', 'ren.browser');
  let own = part('sessionStorage', key);
  // Two pages that live at once have different parts of their own, though a duplicated tab begins with a copy of sessionStorage: the
  // part stands there only while its page does not live. While it does, it stands in localStorage, for those who have a copy of before.
  let lives = ''; // the part while the page lives, nothing while it does not
  const keep = (): void => {
    clientId = browser + '.' + own;
    stored('sessionStorage', key, lives ? 'taken' : own);
    stored('localStorage', place(), lives);
  };
  /** One of a thousand places, as pages that crash leave theirs occupied. */
  const place = (): string => 'ren.taken.' + own.slice(-3);
  const take = (): void => {
    if (stored('localStorage', place()) === own) own = random();
    lives = own;
    keep();
  };
  onPage({
    pagehide() {
      lives = '';
      keep();
    },
    pageshow: () => lives || take(), // back from the cache
  });
  take();
  return clientId!;
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

/** What is stored, or the value that now is, or with '' nothing; null where nothing is, or may be. */
export function stored(area: Area, key: string, value?: string): string | null {
  try {
    const storage = globalThis.document && globalThis[area]; // in Node a look is enough for a warning
    if (value) storage.setItem(key, value);
    else if (value === '') storage.removeItem(key);
    return storage.getItem(key);
  } catch {
    return null; // memory has it
  }
}
