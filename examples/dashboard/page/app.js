import { RenClient } from '/api/maravilla/realtime.js';
import { $, complain, element, rereading, send, showEvent, showState, tell } from '/shared/ui.js';

let list = listOfAddress();
const by = new Map(); // id of an item -> who changed it last: 'you' or 'other'
let read = 0; // how often items were

// --- Data: read when REN says that it has changed, never in between ---

const items = rereading(async () => {
  const from = list;
  const found = await get('items');
  if (from !== list) return; // meanwhile the reader has turned to another list
  $('reads').textContent = `Read ${++read}×, never polled`;
  showItems(found);
});

const stats = rereading(async () => {
  const from = list;
  const found = await get('stats');
  if (from === list) showStats(found);
});

/** Writes, and then shows what is there now. The event of this tab's own write adds nothing to that. */
async function write(method, path, body) {
  try {
    await send(method, `/api/lists/${list}/items${path}`, body);
  } catch ({ message }) {
    tell('Not done: ' + message);
  }
  await items();
}

function get(what) {
  return send('GET', `/api/lists/${list}/${what}`);
}

/** Follows what happens on the server. */
function follow() {
  const ren = new RenClient({ subscriptions: ['kv', 'custom'] });
  ren.on((event) => {
    const own = event.src === ren.getClientId();
    showEvent(event, own);
    if (event.r !== 'kv' || event.ns !== 'demo') return;
    if (event.k === 'stats:' + list) stats();
    const [, of, , id] = event.k.match(/^todolist:(.*):(item|snooze):(.*)$/) ?? [];
    if (of !== list) return;
    by.set(id, own ? 'you' : 'other');
    if (own) showBy(id);
    else items();
  });
  const all = () => Promise.all([items(), stats()]);
  ren.onReset(all); // away for too long to be told what was missed
  ren.onState((state) => {
    if (state === 'open' && (items.missed || stats.missed)) all();
  });
  ren.onError(complain);
  showState('ren-state', ren);
}

// --- The page ---

const rows = new Map(); // by id; they stay, so that the keyboard's focus does, too

function showItems(found) {
  for (const [id, row] of rows) {
    if (found.some((item) => item.id === id)) continue;
    rows.delete(id);
    by.delete(id);
    row.remove();
  }
  found.sort((a, b) => b.urgent - a.urgent || a.id.localeCompare(b.id));
  found.forEach((item, at) => {
    if (!rows.has(item.id)) rows.set(item.id, newRow(item));
    const row = rows.get(item.id);
    fill(row, item);
    if ($('items').children[at] !== row) $('items').insertBefore(row, $('items').children[at] ?? null);
  });
}

function newRow({ id, text }) {
  const button = (name, label, act) =>
    element('button', { type: 'button', className: 'plain ' + name, ariaLabel: `${label}: ${text}`, onclick: act }, label);
  const check = element('input', { type: 'checkbox', onchange: () => write('PATCH', '/' + id, { done: check.checked }) });
  const row = element('li', {},
    element('label', {}, check, element('span', { className: 'what' }, text)),
    element('span', { className: 'marks' }),
    button('escalate', 'Escalate', () => write('POST', `/${id}/escalate`)),
    button('snooze', 'Snooze 5 s', () => write('POST', `/${id}/snooze`)),
    button('delete', 'Delete', () => write('DELETE', '/' + id)));
  row.dataset.id = id;
  return row;
}

function fill(row, { id, done, urgent, snoozedUntil }) {
  const now = JSON.stringify([done, urgent, snoozedUntil]);
  if (row.dataset.now !== now && row.dataset.now) flash(row);
  row.dataset.now = now;
  row.querySelector('input').checked = done;
  row.classList.toggle('done', done);
  row.classList.toggle('asleep', !!snoozedUntil);
  row.querySelector('.escalate').disabled = urgent || done;
  row.querySelector('.snooze').disabled = !!snoozedUntil || done;
  row.querySelector('.marks').replaceChildren(...[
    urgent && !done && element('span', { className: 'badge hot' }, 'urgent'),
    snoozedUntil && element('span', { className: 'badge warm' }, 'asleep until ' + new Date(snoozedUntil).toLocaleTimeString()),
    element('span', { className: 'by' }),
  ].filter(Boolean));
  showBy(id);
}

/** Says who changed an item last. */
function showBy(id) {
  const mark = rows.get(id)?.querySelector('.by');
  if (!mark || !by.has(id)) return;
  mark.className = by.get(id) === 'you' ? 'by badge' : 'by badge other';
  mark.textContent = by.get(id) === 'you' ? 'you' : 'somebody else';
}

function showStats({ open, snoozed, urgent, done }) {
  for (const [id, value] of Object.entries({ open, snoozed, urgent, done })) {
    if ($(id).textContent === String(value)) continue;
    $(id).textContent = value;
    flash($(id).parentElement);
  }
  const part = done / (open + snoozed + done || 1);
  $('progress').value = part;
  $('percent').textContent = Math.round(part * 100) + ' %';
}

function flash(what) {
  what.classList.remove('flash');
  void what.offsetWidth; // restarts the animation
  what.classList.add('flash');
}

function listOfAddress() {
  return location.hash === '#garden' ? 'garden' : 'launch';
}

function showList() {
  for (const link of document.querySelectorAll('nav a')) link.ariaCurrent = link.hash === '#' + list ? 'page' : null;
}

$('add').addEventListener('submit', (submit) => {
  submit.preventDefault();
  const text = $('text').value.trim();
  if (!text) return;
  $('text').value = '';
  write('POST', '', { text });
});
addEventListener('hashchange', () => {
  list = listOfAddress();
  showList();
  items();
  stats();
});

showList();
await Promise.all([items(), stats()]); // first, so that the stream begins where these were read, and no change escapes it
follow();
