import { RenClient } from '/api/maravilla/realtime.js';
import { $, complain, element, send, showEvent, showState, tell } from '/shared/ui.js';

const statuses = [['new', 'New', 'paid', 'Pay'], ['paid', 'Paid', 'packed', 'Pack'], ['packed', 'Packed', 'shipped', 'Ship'], ['shipped', 'Shipped']];
const people = ['Ada', 'Grace', 'Mary', 'Kurt', 'Emmy', 'Alan', 'Hedy', 'Linus'];

// Who this is: each tab is somebody else, and is told by the address or by chance.
const me = decodeURIComponent(location.hash.slice(1)) || people[Math.floor(Math.random() * people.length)];
$('me').textContent = me;

// This page writes through one process, and hears of changes from the other.
const { writes, events, command, statements } = await send('GET', '/place');
$('writes').textContent = `process ${writes.name}`;
$('writes').title = 'process ' + writes.pid;
$('events-from').textContent = `process ${events.name}`;
$('events-from').title = 'process ' + events.pid;

const ren = new RenClient({ endpoint: `/${events.name}/api/maravilla/ren`, subscriptions: ['db'] });
const by = new Map(); // id of an order -> who changed it last
let fresh = new Set(); // ids of orders that have changed since they were shown

ren.on((event) => {
  const own = event.src === ren.getClientId();
  showEvent(event, own);
  if (event.ns !== 'orders') return;
  fresh.add(event.k);
  by.set(event.k, own ? 'you' : event.uid ?? 'psql'); // what names nobody was not written by the app
});

// --- Data: read once, and then changed by what the events say of each row ---

let read = 0; // how often the orders were

const orders = ren.query({
  load: async () => {
    const list = await send('GET', `/${writes.name}/api/orders`);
    $('reads').textContent = `Read ${++read}×, never polled`;
    return new Map(list.map(({ id, ...order }) => [String(id), order]));
  },
  match: ({ r, ns }) => r === 'db' && ns === 'orders',
  apply: (known, { t, k, data }) => {
    const changed = new Map(known);
    if (t === 'db.document.deleted') changed.delete(k);
    else if (data) changed.set(k, data);
    else return undefined; // to be read again
    return changed;
  },
});

async function write(method, path, body) {
  try {
    await send(method, `/${writes.name}/api/orders${path}?by=${encodeURIComponent(me)}`, body);
  } catch ({ message }) {
    tell('Not done: ' + message);
  }
}

// --- The page ---

const lists = new Map(statuses.map(([status, title]) => {
  const list = element('ol', { id: 'list-' + status });
  $('board').append(element('section', { className: 'list ' + status },
    element('h3', {}, title, element('span', { className: 'count' }, '0'), element('span', { className: 'sum soft' })), list));
  return [status, list];
}));
const cards = new Map(); // by id; they stay, so that the keyboard's focus does, too

function showOrders() {
  const { data, error } = orders.getSnapshot();
  if (error) tell('The orders cannot be read: ' + error.message);
  if (!data) return;
  for (const [id, card] of cards) {
    if (data.has(id)) continue;
    card.remove();
    cards.delete(id);
    by.delete(id);
  }
  const newest = [...data].sort(([a], [b]) => b - a);
  for (const [status, list] of lists) {
    const shown = newest.filter(([, order]) => order.status === status);
    list.previousSibling.querySelector('.count').textContent = shown.length;
    list.previousSibling.querySelector('.sum').textContent = price(shown.reduce((sum, [, { cents }]) => sum + cents, 0));
    shown.forEach(([id, order], at) => {
      const card = cardOf(id, order);
      if (list.children[at] !== card) list.insertBefore(card, list.children[at] ?? null);
    });
  }
  fresh = new Set();
}

/** Returns the card of an order, filled with what it is now. */
function cardOf(id, { customer, item, cents, status }) {
  if (!cards.has(id)) cards.set(id, element('li', {}));
  const card = cards.get(id);
  const now = JSON.stringify([customer, item, cents, status, by.get(id)]);
  if (card.dataset.now !== now) {
    const focused = [...card.querySelectorAll('button')].indexOf(document.activeElement);
    const [, , next, verb] = statuses.find(([name]) => name === status);
    card.dataset.now = now;
    card.replaceChildren(
      element('p', {}, element('b', { className: 'what' }, item), element('span', { className: 'cents' }, price(cents))),
      element('p', { className: 'soft' }, customer, mark(by.get(id))),
      element('p', { className: 'buttons' },
        next && element('button', { type: 'button', ariaLabel: `${verb}: ${item}`, onclick: () => write('PATCH', '/' + id, { status: next }) }, verb),
        element('button', { type: 'button', className: 'plain', ariaLabel: 'Delete: ' + item, onclick: () => write('DELETE', '/' + id) }, 'Delete')));
    card.querySelectorAll('button')[focused]?.focus();
  }
  if (fresh.has(id)) flash(card);
  return card;
}

const marks = new Map([['you', ''], ['psql', ' warm']]);

function mark(who) {
  if (!who) return '';
  return element('span', { className: 'by badge' + (marks.get(who) ?? ' other') }, who);
}

function price(cents) {
  return (cents / 100).toLocaleString('en', { minimumFractionDigits: 2 });
}

function flash(what) {
  what.classList.remove('flash');
  void what.offsetWidth; // restarts the animation
  what.classList.add('flash');
}

$('create').addEventListener('submit', async (submit) => {
  submit.preventDefault();
  const cents = Math.round(100 * $('price').valueAsNumber);
  const order = { customer: $('customer').value.trim(), item: $('item').value.trim(), cents };
  $('item').value = $('price').value = '';
  await write('POST', '', order);
});

// --- psql ---

const prompt = 'shop=# ';
$('command').textContent = command;
$('copy').addEventListener('click', () => navigator.clipboard?.writeText(command).catch(() => tell('Not copied')));
if (!statements) $('said').textContent = 'There is no psql on this machine. Run it wherever it reaches the database.';

for (const { name, sql } of statements ?? []) {
  $('statements').append(element('button', { type: 'button', onclick: () => runPsql(name, sql) }, name));
}

async function runPsql(name, sql) {
  const lines = element('span', {}, sql.map((line) => `${prompt}${line};\n`).join(''));
  $('said').append(lines);
  try {
    const { said } = await send('POST', '/psql/' + encodeURIComponent(name));
    const answers = said.split('\n');
    lines.replaceChildren(...sql.length === answers.length ?
      sql.flatMap((line, at) => [`${prompt}${line};\n`, element('i', {}, answers[at] + '\n')]) :
      [lines.textContent, element('i', {}, said + '\n')]);
  } catch ({ message }) {
    lines.append(element('i', {}, message + '\n'));
  }
  while ($('said').childElementCount > 50) $('said').firstElementChild.remove();
  $('said').scrollTop = $('said').scrollHeight;
}

orders.subscribe(showOrders);
ren.onError(complain);
showState('ren-state', ren);
