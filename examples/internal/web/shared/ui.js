// What the pages of the examples share: making elements, and showing what the clients of the SDK are up to.
import { renFetch } from '/api/maravilla/realtime.js';

const most = 500; // events kept in the list

export const $ = (id) => document.getElementById(id);

/** Makes an element. Strings become text, never HTML. */
export function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter(Boolean));
  return made;
}

/** Sends JSON and returns what is answered. renFetch says which tab it comes from, so that REN can tell. */
export async function send(method, path, body) {
  const headers = body && { 'Content-Type': 'application/json' };
  const answer = await renFetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.status === 204 ? undefined : answer.json();
}

/**
 * Makes a function of one that reads data and shows it. Called while it reads, it reads once more, so that what is shown
 * in the end was read after the last call. `missed` tells whether the last one failed, `busy` whether one is under way.
 */
export function rereading(read) {
  let asked = 0;
  let running;
  const run = async () => {
    for (let seen; seen !== asked;) {
      seen = asked;
      again.missed = !(await read().then(() => true, () => false));
    }
    running = undefined;
  };
  const again = () => {
    asked++;
    return (running ??= run());
  };
  again.missed = false;
  again.busy = () => !!running;
  return again;
}

/** Shows the state of a client, and later changes of it. */
export function showState(id, client) {
  const show = (state) => {
    $(id).dataset.state = state;
    $(id).querySelector('span').textContent = state;
  };
  client.onState(show);
  show(client.state ?? (client.isConnected() ? 'open' : 'connecting'));
}

/** Adds an event to the list of all that happens, which stays at its end unless its reader has scrolled away. */
export function showEvent({ t, r, ts, src, ...rest }, own) {
  const item = element('li', {},
    element('p', {},
      element('b', {}, t),
      own ? element('span', { className: 'badge' }, 'you') : element('span', { className: 'src' }, src ?? ''),
      time(ts, true)),
    element('code', {}, JSON.stringify(rest, null, 1).replace(/\n\s*/g, ' '))); // with spaces to break lines at
  Object.assign(item.dataset, { type: t, domain: r, own });
  const list = $('events');
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(item);
  if (list.childElementCount > most) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

/** Tells something in passing. */
export function tell(text) {
  const note = element('p', {}, text, element('button', { type: 'button', ariaLabel: 'Dismiss', onclick: () => note.remove() }, '×'));
  $('notes').append(note);
  if ($('notes').childElementCount > 4) $('notes').firstElementChild.remove();
}

/** Tells what a client of the SDK has to say. */
export function complain({ message }) {
  tell('The server says: ' + message);
}

export function avatar(id, name) {
  const words = String(name).trim().split(/\s+/);
  const initials = words.slice(0, 2).map((word) => [...word][0] ?? '?').join('');
  const made = element('span', { className: 'avatar', ariaHidden: 'true' }, initials.toUpperCase());
  const hue = [...String(id)].reduce((sum, c) => (sum * 31 + c.codePointAt(0)) % 360, 7);
  made.style.setProperty('--hue', hue);
  return made;
}

export function time(ts, seconds = false) {
  const when = new Date(ts);
  const form = { hour: '2-digit', minute: '2-digit', second: seconds ? '2-digit' : undefined };
  return element('time', { dateTime: when.toISOString() }, when.toLocaleTimeString([], form));
}

/** 16 random characters. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

$('tail-toggle')?.addEventListener('click', () => {
  const open = $('tail').hidden;
  $('tail').hidden = !open;
  $('tail-toggle').ariaExpanded = String(open);
});
