import { RealtimeClient, RenClient } from '/api/maravilla/realtime.js';
import { $, avatar, complain, element, newId, rereading, send, showEvent, showState, tell } from '/shared/ui.js';

// Who this is. localStorage is shared by the tabs of a browser: all of them are one user.
const me = JSON.parse(localStorage.getItem('roster.me')) ?? { id: newId(), name: '', status: 'available' };
let group = groupOfAddress();

// --- The room: the server makes this user present; a stream tells who else is ---

const people = new Map(); // id of a user -> metadata
let visit; // of this page to the group, while it is there

/** Asks to be present for 90 s. */
async function here() {
  if (!visit) return;
  try {
    await send('POST', `/api/groups/${encodeURIComponent(group)}/here`, { user: me.id, visit, name: me.name, status: me.status });
  } catch ({ message }) {
    tell('You may not be seen: ' + message);
  }
}

/** Ends that. A beacon is sent even though the page goes; others are told at once, also when it only reloads. */
function away() {
  if (!visit) return;
  const over = new Blob([JSON.stringify({ user: me.id, visit })], { type: 'application/json' });
  navigator.sendBeacon(`/api/groups/${encodeURIComponent(group)}/away`, over);
  visit = undefined;
}

/** Reads who is there: at first, and when it could not be told what was missed. */
const members = rereading(async () => {
  const from = group;
  const found = await send('GET', `/api/groups/${encodeURIComponent(from)}/members`);
  if (from !== group) return;
  people.clear();
  for (const { userId, metadata } of found) people.set(userId, metadata);
  showPeople();
});

/** Changes the list by one event. */
function change({ t, uid, data }) {
  if (t === 'presence.leave') people.delete(uid);
  else people.set(uid, data?.metadata);
  showPeople();
  if (members.busy()) members(); // what is being read may be older than that
}

// --- The call: joined over the WebSocket, which keeps the user in it as long as it lives ---

const rt = new RealtimeClient();
let call; // presence in the channel of the group's call
let inCall = false;
let hangUp = () => {};

function listen() {
  hangUp();
  const callers = new Map();
  call = rt.presence('huddle:' + group);
  const show = (member) => {
    callers.set(member.userId, member.metadata);
    showCallers(callers);
  };
  const off = [
    call.onJoin(show),
    call.onUpdate(show),
    call.onLeave(({ userId }) => {
      callers.delete(userId);
      showCallers(callers);
    }),
  ];
  const left = call;
  hangUp = () => {
    for (const stop of off) stop();
    left.leave();
    inCall = false;
  };
  inCall = false;
  showCallers(callers);
}

async function toggleCall() {
  inCall = !inCall;
  showCall();
  try {
    await (inCall ? call.join(me.id, { name: me.name }) : call.leave());
  } catch ({ message }) {
    inCall = false;
    showCall();
    tell('No call: ' + message);
  }
}

// --- The flag that a handler on the server derives from it ---

const flag = rereading(async () => {
  const from = group;
  const { active } = await send('GET', `/api/groups/${encodeURIComponent(from)}/huddle`);
  if (from !== group) return;
  $('flag').dataset.active = active;
  $('flag').textContent = active ? 'Call in progress' : 'No call';
});

/** Follows what happens on the server. */
function follow() {
  const ren = new RenClient({ subscriptions: ['presence', 'kv'] });
  ren.on((event) => {
    showEvent(event, event.uid === me.id);
    if (event.r === 'presence' && event.ch === 'room:' + group) change(event);
    if (event.r === 'kv' && event.ns === 'demo' && event.k === 'huddle-active:' + group) flag();
  });
  const all = async () => {
    await here(); // it may be another server, which has never heard of this user
    await Promise.all([members(), flag()]);
  };
  ren.onReset(all);
  ren.onState((state) => {
    if (state === 'open' && (members.missed || flag.missed)) all();
  });
  ren.onError(complain);
  showState('ren-state', ren);
}

// --- The page ---

/** Enters the group of the address. */
async function enter() {
  away();
  group = groupOfAddress();
  people.clear();
  $('group-name').textContent = '# ' + group;
  $('me').textContent = me.name || 'Come in';
  if (me.name) visit = newId();
  listen();
  await here();
  await Promise.all([members(), flag()]);
}

function showPeople() {
  const list = sorted(people);
  $('count').textContent = list.length;
  $('roster').replaceChildren(...list.map(([id, metadata]) => {
    const status = String(metadata?.status ?? '');
    const item = person(id, metadata, element('span', { className: 'status' }, status));
    item.dataset.status = status;
    return item;
  }));
}

function showCallers(callers) {
  $('callers').replaceChildren(...sorted(callers).map(([id, metadata]) => person(id, metadata)));
  showCall();
}

function showCall() {
  $('call').textContent = inCall ? 'Leave the call' : 'Join the call';
  $('call').ariaPressed = String(inCall);
  $('call').classList.toggle('primary', !inCall);
}

function person(id, metadata, more) {
  const item = element('li', {}, avatar(id, nameOf(metadata)),
    element('p', {}, element('span', { className: 'name' }, nameOf(metadata)), id === me.id && element('span', { className: 'badge' }, 'you'), more));
  item.dataset.user = id;
  return item;
}

function sorted(members) {
  return [...members].sort(([, a], [, b]) => nameOf(a).localeCompare(nameOf(b)));
}

function nameOf(metadata) {
  return String(metadata?.name ?? 'Somebody');
}

function groupOfAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1)).trim().slice(0, 64) || 'family';
  } catch {
    return 'family'; // not an address of ours
  }
}

function keep() {
  localStorage.setItem('roster.me', JSON.stringify(me));
}

function askName() {
  $('name').value = me.name;
  $('group').value = group;
  $('welcome').showModal();
}

$('join').addEventListener('submit', () => {
  me.name = $('name').value.trim() || 'Anonymous';
  keep();
  history.replaceState(null, '', '#' + encodeURIComponent($('group').value.trim()));
  $('me').textContent = me.name;
  if (visit && group === groupOfAddress()) here(); // under another name
  else enter();
});
$('welcome').addEventListener('close', () => me.name || askName()); // Esc gives no name
$('me').addEventListener('click', askName);
$('call').addEventListener('click', toggleCall);
$('status').addEventListener('change', () => {
  me.status = $('status').value;
  keep();
  here();
});
addEventListener('hashchange', enter);
addEventListener('pagehide', away);
addEventListener('pageshow', ({ persisted }) => persisted && enter()); // back from the browser's cache
setInterval(here, 60_000); // hidden pages get no faster timer than that

$('status').value = me.status;
rt.connect();
rt.onError(complain);
showState('ws-state', rt);
if (!me.name) askName();
await enter(); // reads first, so that the stream begins where this was read, and nobody escapes it
follow();
