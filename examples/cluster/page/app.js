import { RealtimeClient } from '/api/maravilla/realtime.js';
import { $, avatar, complain, element, newId, showState, tell, time } from '/shared/ui.js';

const bars = 220; // messages in the chart
const lines = 200; // of what happened
const people = ['Ada Lovelace', 'Grace Hopper', 'Mary Jackson', 'Kurt Gödel', 'Emmy Noether', 'Alan Turing', 'Hedy Lamarr', 'Linus Pauling'];

// Who this is: each tab is somebody else, and is told by the address or by chance.
const page = newId();
const name = decodeURIComponent(location.hash.slice(1)) || people[Math.floor(Math.random() * people.length)];
let serving = ''; // the node that this page is connected to

// The load balancer chooses a node for each connection. It notes the page that asks, so that it can tell it which.
const rt = new RealtimeClient({ wsEndpoint: '/api/maravilla/realtime?page=' + page, shareTabs: false, maxBackoffMs: 1000 });

// --- The proof: senders number their messages, and this page counts them ---

const last = new Map(); // sender -> the number of its last message
const counted = { gaps: 0, duplicates: 0, moves: 0, back: 0, sent: 0, longest: 0 };

/** Counts a message by its number, and returns whether it was the next one. */
function count(sender, n) {
  const before = last.get(sender);
  last.delete(sender);
  last.set(sender, before === undefined ? n : Math.max(n, before)); // it is the newest now
  if (last.size > 1000) last.delete(last.keys().next().value);
  if (before === undefined || n === before + 1) return true;
  if (n <= before) counted.duplicates++;
  else counted.gaps += n - before - 1;
  happened(n <= before ? `Message ${n} came twice` : `${n - before - 1} messages before ${n} are missing`, 'bad');
  return false;
}

rt.subscribe('clock', ({ data: { n, at } }) => {
  count('clock', n);
  const late = Math.max(0, Date.now() - at);
  counted.longest = Math.max(counted.longest, late);
  $('sequence').textContent = n.toLocaleString('en');
  draw(late);
  showFigures();
});

rt.subscribe('pages', ({ data: { from, n } }) => {
  if (count('page ' + from, n) && from === page) counted.back++;
  showFigures();
});

// What has no answer yet when a node dies, the SDK sends again; the log knows it by its id, whichever node it comes through.
setInterval(() => {
  if (counted.sent - counted.back < 80) rt.publish('pages', { from: page, n: ++counted.sent }).catch(({ message }) => tell('Not published: ' + message));
  showFigures();
}, 500);

// The SDK says so when it cannot tell what was missed. Here it always can.
rt.onReset(({ reason }) => happened(`Messages were missed (${reason})`, 'bad'));
rt.onError(complain);

// --- Presence: a page that moves to another node does not leave ---

const lobby = rt.presence('lobby');
const here = new Map(); // user -> metadata

function join() {
  lobby.join(page, { name, node: serving }).catch(({ message }) => tell('You are not seen: ' + message));
}
const showMember = ({ userId, metadata }) => {
  here.set(userId, metadata);
  showPeople();
};
lobby.onJoin(showMember);
lobby.onUpdate(showMember);
lobby.onLeave(({ userId, metadata }) => {
  here.delete(userId);
  showPeople();
  happened(`${metadata?.name ?? 'Somebody'} left`);
});

// --- The cluster, as the load balancer sees it ---

let states = new Map(); // node -> what was said of it
let lost; // when this page lost its node

new EventSource('/cluster?page=' + page).onmessage = ({ data }) => {
  const cluster = JSON.parse(data);
  follow(cluster.serving);
  for (const node of cluster.nodes) {
    const state = stateOf(node);
    const before = states.get(node.name);
    if (before !== undefined && before !== state) happened(`Node ${node.name}: ${state}`);
    states.set(node.name, state);
    showNode(node, state, cluster.serving === node.name);
  }
};

/** Notes which node serves this page now. */
function follow(node) {
  if (node === serving) return;
  if (node && moved) {
    counted.moves++;
    happened(`Moved to node ${node} in ${((Date.now() - lost) / 1000).toFixed(1)} s`, 'move node-' + node);
  }
  if (!node) lost = Date.now();
  else moved = true;
  serving = node;
  $('served').textContent = node ? 'Served by node ' + node : 'Served by no node';
  if (node) $('served').className = 'node-' + node;
  else $('served').removeAttribute('class');
  if (node) join(); // tells the others
  showFigures();
}
let moved = false;

function stateOf({ process, paused, cut, healthy }) {
  if (!process) return 'killed';
  if (paused) return 'paused';
  if (cut) return 'cut off';
  return healthy ? 'healthy' : 'not healthy';
}

async function act(node, action) {
  const answer = await fetch(`/cluster/${node}/${action}`, { method: 'POST' });
  if (!answer.ok) tell(await answer.text());
}

// --- The page ---

function showFigures() {
  for (const id of ['gaps', 'duplicates', 'moves', 'back', 'sent']) $(id).textContent = counted[id].toLocaleString('en');
  $('gaps').parentElement.classList.toggle('broken', counted.gaps > 0);
  $('duplicates').parentElement.classList.toggle('broken', counted.duplicates > 0);
  $('longest').firstChild.data = (counted.longest / 1000).toFixed(1);
}

/** Adds a bar for a message that came so late, in milliseconds. */
function draw(late) {
  const bar = element('i', { className: 'node-' + (serving || 'a') });
  bar.style.height = Math.min(100, late / 30) + '%';
  $('chart').append(bar);
  while ($('chart').childElementCount > bars) $('chart').firstElementChild.remove();
}

const badges = { healthy: 'fine', paused: 'warm', 'not healthy': 'warm', 'cut off': 'hot', killed: 'other' };

function showNode({ name: node, process, address, paused, cut, pages }, state, serves) {
  const button = (action, text, { danger = false, disabled = false } = {}) => {
    const made = element('button', { type: 'button', disabled, className: danger ? 'danger' : '', onclick: () => act(node, action) }, text);
    made.dataset.action = action;
    return made;
  };
  const made = element('article', { id: 'node-' + node, className: 'node node-' + node }, element('div', { className: 'panel' },
    element('p', {}, element('h3', {}, 'Node ' + node),
      serves && element('span', { className: 'badge serves' }, 'serves you'),
      (!serves || state !== 'healthy') && element('span', { className: 'badge ' + badges[state] }, state)),
    element('p', { className: 'soft' },
      element('span', {}, process ? `process ${process}, ${address}` : 'no process'),
      element('span', {}, pages === 1 ? '1 page' : pages + ' pages')),
    element('p', { className: 'buttons' },
      process ? button('kill', 'Kill', { danger: true }) : button('start', 'Start'),
      paused ? button('resume', 'Resume') : button('pause', 'Pause', { disabled: !process }),
      cut ? button('mend', 'Mend') : button('cut', 'Cut off', { disabled: !process }))));
  Object.assign(made.dataset, { state, cut, serving: serves });
  const old = $('node-' + node);
  if (!old) $('nodes').append(made);
  else {
    const focused = old.contains(document.activeElement) && [...old.querySelectorAll('button')].indexOf(document.activeElement);
    old.replaceWith(made);
    if (focused !== false) made.querySelectorAll('button')[focused]?.focus();
  }
}

function showPeople() {
  const list = [...here].sort(([, a], [, b]) => String(a?.name).localeCompare(String(b?.name)));
  $('count').textContent = list.length;
  $('roster').replaceChildren(...list.map(([user, metadata]) => {
    const node = /^[abc]$/.test(metadata?.node) ? metadata.node : '';
    return element('li', {}, avatar(user, metadata?.name ?? '?'),
      element('span', { className: 'name' }, String(metadata?.name)),
      user === page && element('span', { className: 'badge other' }, 'you'),
      element('span', { className: 'chip node-' + node }, node ? 'node ' + node : '…'));
  }));
}

/** Adds a line to what happened. */
function happened(text, kind = '') {
  const list = $('happened');
  list.append(element('li', {}, time(Date.now(), true), element('span', { className: kind }, text)));
  if (list.childElementCount > lines) list.firstElementChild.remove();
  list.scrollTop = list.scrollHeight;
}

showState('ws-state', rt);
rt.connect();
