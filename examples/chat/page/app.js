import { RealtimeClient, RenClient, renFetch } from '/api/maravilla/realtime.js';

const most = 1000; // lines kept in each list
const $ = (id) => document.getElementById(id);

// Who this is. localStorage is shared by the tabs of a browser: all of them are one user.
const me = JSON.parse(localStorage.getItem('chat.me')) ?? { id: newId(), name: '' };

// --- The room: messages and presence, over a WebSocket ---

const rt = new RealtimeClient();
let room = roomOfAddress();
let presence; // in the room
let leave = () => {};

/** Enters the room of the address. */
function enter() {
  leave();
  room = roomOfAddress();
  const channel = 'room:' + room;
  const people = new Map();
  $('room-name').textContent = '# ' + room;
  $('messages').replaceChildren();
  oldest = undefined;
  showPeople(people);

  presence = rt.presence(channel);
  join();
  let known = false;
  const off = [
    rt.subscribe(channel, (message) => {
      oldest ??= message.id;
      showMessage(message);
    }, { rewind: 50 }),
    presence.onJoin((member) => {
      // Those who are reported together with the first were here before.
      queueMicrotask(() => (known = true));
      people.set(member.userId, member);
      showPeople(people);
      if (known && member.userId !== me.id) note(nameOf(member) + ' joined', 'join');
    }),
    presence.onUpdate((member) => {
      people.set(member.userId, member);
      showPeople(people);
    }),
    presence.onLeave((member) => {
      people.delete(member.userId);
      showPeople(people);
      if (member.userId !== me.id) note(nameOf(member) + ' left', 'leave');
    }),
  ];
  const left = presence;
  leave = () => {
    for (const stop of off) stop();
    left.leave();
  };
}

// --- What was said before: fifty messages with the subscription, and fifty more where somebody scrolls to them ---

let oldest; // the cursor before which messages have not been read; undefined while there is none, null at the beginning
let reading = false;

/** Shows the messages before the oldest one. */
async function readOlder() {
  if (!oldest || reading) return;
  reading = true;
  const asked = room;
  try {
    const { messages, before, end } = await rt.history('room:' + asked, { before: oldest, limit: 50 });
    if (room !== asked) return; // left meanwhile
    oldest = before ?? null;
    prepend($('messages'), [
      end && element('li', { className: 'note' }, end === 'start' ? 'The room begins here' : 'Older messages are no longer kept'),
      ...messages.map((message) => messageItem(message)),
    ]);
  } catch (error) {
    note('Older messages could not be read: ' + error.message);
  } finally {
    reading = false;
  }
}

/** Joins the room; once in it, tells the others a new name. */
function join() {
  presence.join(me.id, { name: me.name }).catch(({ message }) => note('You could not join: ' + message));
}

// After a lost connection the SDK goes on where it was. If that was too long ago, it says so, and so does the page.
rt.onReset(({ reason }) => note(`Messages may be missing here: the server no longer has what this page missed (${reason}).`, 'reset'));
rt.onError(({ message }) => note('The server says: ' + message));
rt.onState((state) => showState('ws-state', state));

/** Sends a message. It is shown when it comes back, like everybody else's. */
async function send(text, via) {
  const message = { user: me.id, name: me.name, text, via };
  wait(+1);
  try {
    if (via === 'server') await post('/api/say', { room, ...message });
    else await rt.publish('room:' + room, message);
  } catch (error) {
    note(`Not sent: “${text}” (${error.message})`);
  } finally {
    wait(-1);
  }
}

// --- The topic: data on the server, read again when REN says that it was written ---

let reads = 0; // begun
let stale = false; // the last one failed

async function readTopic() {
  const read = ++reads;
  stale = false;
  try {
    const answer = await renFetch('/api/topic?room=' + encodeURIComponent(room));
    const { topic } = await answer.json();
    if (read === reads) showTopic(topic); // else a later one knows better
  } catch {
    stale = true; // the server is away
  }
}

/** Follows what happens on the server. */
function follow() {
  const ren = new RenClient();
  ren.on((event) => {
    showEvent(event, event.src === ren.getClientId());
    if (event.r === 'kv' && event.ns === 'chat' && event.k === 'topic:' + room) readTopic();
  });
  ren.onReset(({ reason }) => {
    append($('events'), element('li', { className: 'reset' }, `Events were missed (${reason}).`));
    readTopic();
  });
  ren.onState((state) => {
    showState('ren-state', state);
    if (state === 'open' && stale) readTopic();
  });
  showState('ren-state', ren.state);
}

/** POSTs JSON; renFetch says which tab it comes from, so that REN can tell. */
async function post(path, body) {
  const answer = await renFetch(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(await answer.text());
}

// --- The page ---

function showMessage(message) {
  const list = $('messages');
  const item = messageItem(message, list.lastElementChild);
  if (!item) return;
  const first = list.firstElementChild;
  append(list, item);
  if (first && first !== list.firstElementChild) oldest = list.querySelector('.message').dataset.id; // what made room can be read again
}

/** Makes a line of a message. `last` is the line before it. */
function messageItem({ id, data, from, ts }, last) {
  if (typeof data?.text !== 'string') return undefined; // anybody may publish anything here
  const { user, name, text, via } = data;
  const mine = from === rt.getClientId(); // which the server says; the rest is what the author says
  const item = element('li', { className: 'message' },
    avatar(user, name),
    element('p', { className: 'by' },
      element('b', {}, mine ? 'You' : String(name)),
      time(ts),
      via === 'server' && element('span', { className: 'via' }, 'via the server')),
    element('p', { className: 'text' }, text));
  item.classList.toggle('mine', mine);
  item.classList.toggle('more', last?.dataset.user === user && last?.dataset.via === via);
  Object.assign(item.dataset, { id, from, user, via });
  return item;
}

/** Adds a line that nobody wrote. */
function note(text, kind = 'notice') {
  append($('messages'), element('li', { className: 'note ' + kind }, text));
}

function showPeople(people) {
  const list = [...people.values()].sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
  $('count').textContent = list.length;
  $('roster').replaceChildren(...list.map((member) => {
    const item = element('li', {}, avatar(member.userId, nameOf(member)), element('span', { className: 'name' }, nameOf(member)),
      member.userId === me.id && element('span', { className: 'badge' }, 'you'));
    item.dataset.user = member.userId;
    return item;
  }));
}

function showEvent(event, own) {
  const { t, r, ts, src, ...rest } = event;
  const item = element('li', {},
    element('p', {},
      element('b', {}, t),
      own ? element('span', { className: 'badge' }, 'you') : element('span', { className: 'src' }, src ?? ''),
      time(ts, true)),
    element('code', {}, JSON.stringify(rest)));
  Object.assign(item.dataset, { type: t, domain: r, own });
  append($('events'), item);
}

function showState(id, state) {
  $(id).dataset.state = state;
  $(id).querySelector('span').textContent = state;
}

function showTopic(topic) {
  if (document.activeElement !== $('topic')) $('topic').value = topic; // not under the hands of its author
}

let waiting = 0;
function wait(more) {
  waiting += more;
  $('waiting').textContent = waiting && !rt.isConnected() ? `${waiting} waiting for the connection` : '';
}

/** Appends to a list, which stays at its end unless its reader has scrolled away from there. */
function append(list, item) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(item);
  if (list.childElementCount > most && atEnd) list.firstElementChild.remove(); // else somebody reads there
  if (atEnd) list.scrollTop = list.scrollHeight;
}

/** Puts items before those of a list, which its reader goes on seeing where they are. */
function prepend(list, items) {
  const fromEnd = list.scrollHeight - list.scrollTop;
  list.prepend(...items.filter(Boolean));
  list.scrollTop = list.scrollHeight - fromEnd;
}

/** Makes an element. Strings become text, never HTML. */
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter(Boolean));
  return made;
}

function avatar(id, name) {
  const words = String(name).trim().split(/\s+/);
  const initials = words.slice(0, 2).map((word) => [...word][0] ?? '?').join('');
  const made = element('span', { className: 'avatar', ariaHidden: 'true' }, initials.toUpperCase());
  const hue = [...String(id)].reduce((sum, c) => (sum * 31 + c.codePointAt(0)) % 360, 7);
  made.style.setProperty('--hue', hue);
  return made;
}

function time(ts, seconds = false) {
  const when = new Date(ts);
  const form = { hour: '2-digit', minute: '2-digit', second: seconds ? '2-digit' : undefined };
  return element('time', { dateTime: when.toISOString() }, when.toLocaleTimeString([], form));
}

function nameOf({ userId, metadata }) {
  return String(metadata?.name ?? userId);
}

function roomOfAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1)).trim().slice(0, 64) || 'lobby';
  } catch {
    return 'lobby'; // not an address of ours
  }
}

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function askName() {
  $('name').value = me.name;
  $('room').value = room;
  $('welcome').showModal();
}

$('join').addEventListener('submit', () => {
  me.name = $('name').value.trim() || 'Anonymous';
  localStorage.setItem('chat.me', JSON.stringify(me));
  history.replaceState(null, '', '#' + encodeURIComponent($('room').value.trim()));
  if (presence && room === roomOfAddress()) join();
  else enter();
  $('me').textContent = me.name;
  readTopic();
});
$('welcome').addEventListener('close', () => me.name || askName()); // Esc gives no name
$('composer').addEventListener('submit', (submit) => {
  submit.preventDefault();
  const text = $('text').value.trim();
  if (!text) return;
  $('text').value = '';
  send(text, new FormData($('composer')).get('via'));
});
let seenFrom = 0; // of what is seen of the messages
$('messages').addEventListener('scroll', () => {
  const up = $('messages').scrollTop < seenFrom; // the reader's doing: new messages scroll down
  seenFrom = $('messages').scrollTop;
  if (up && seenFrom < 80) readOlder();
});
$('topic-form').addEventListener('submit', async (submit) => {
  submit.preventDefault();
  $('topic').blur();
  await post('/api/topic', { room, topic: $('topic').value.trim() }).catch(({ message }) => note('The topic was not set: ' + message));
});
$('tail-toggle').addEventListener('click', () => {
  const open = $('tail').hidden;
  $('tail').hidden = !open;
  $('tail-toggle').ariaExpanded = String(open);
});
$('me').addEventListener('click', askName);
addEventListener('hashchange', () => {
  if (me.name) enter();
  readTopic();
});

rt.connect();
if (me.name) enter();
else askName();
$('me').textContent = me.name || 'Join';
await readTopic(); // first, so that the stream begins where this was read, and no change in between escapes it
follow();
