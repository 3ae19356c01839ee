import { RealtimeClient } from '/api/maravilla/realtime.js';
import { $, avatar, complain, element, newId, send, showState, tell, time } from '/shared/ui.js';
import { markdown } from './markdown.js';

const chat = location.hash.slice(1, 65) || 'launch'; // the conversation
const channel = 'chat:' + chat;
const rt = new RealtimeClient();

// --- Answers are streams. Who subscribes to the conversation is told where one begins, and how it has ended ---

rt.subscribe(channel, ({ stream: id, state, data, from, ts }) => {
  if (!id) return; // anybody may publish anything here, but only the server tells of streams
  const turn = turns.get(id) ?? showTurn(id, data.metadata?.question, from === rt.getClientId(), ts);
  if (state !== 'streaming') turn.ended(data, state);
  else queueMicrotask(() => follow(rt.stream(channel, id), turn)); // when all that is past has been told
}, { rewind: 40 });

/** Shows an answer, each time that it has grown. */
async function follow(answer, turn) {
  if (turn.over) return;
  turn.follows = true;
  turn.stop.onclick = () => {
    turn.stopped = true;
    answer.stop().catch(({ message }) => tell('Not stopped: ' + message));
  };
  try {
    for await (const text of answer) turn.show(text, answer.state);
    turn.end(answer.text, answer.state);
  } catch (error) {
    turn.end(answer.text, error.code === 'not_found' ? 'gone' : 'failed', error);
  }
}

async function ask(text) {
  try {
    await send('POST', '/api/ask', { chat, text });
  } catch ({ message }) {
    tell('Not asked: ' + message);
  }
}

// --- Who watches: each tab, by a name that means nothing ---

const me = sessionStorage.getItem('ai.tab') ?? newId();
sessionStorage.setItem('ai.tab', me);
const people = rt.presence(channel);
people.join(me).catch(complain);
people.onJoin(showWatchers);
people.onLeave(showWatchers);

function showWatchers() {
  const list = people.members();
  const others = list.filter(({ userId }) => userId !== me).length;
  $('watching').textContent = others ? `${others + 1} tabs watch` : 'Only this tab watches';
  $('watchers').replaceChildren(...list.slice(0, 8).map(({ userId }) => avatar(userId, userId)));
  if (others) done('try-second');
}

// --- The connection ---

let open = false;
let opened = 0; // how often it has been
let lostAt; // when it was lost

rt.onState((state) => {
  if (state === 'open') {
    opened++;
    saw(lostAt ? `Connected again after ${seconds(performance.now() - lostAt)}` : 'Connected', 'good');
  } else if (open) {
    lostAt = performance.now();
    saw('Connection lost', 'bad');
  }
  open = state === 'open';
});
rt.onReset(({ reason }) => tell(`Questions may be missing: reload (${reason}).`));
rt.onError(complain);

async function unplug() {
  $('unplug').disabled = true;
  saw('The plug is pulled', 'bad');
  try {
    const { ms } = await send('POST', '/api/unplug', {}); // for so long there is no WebSocket
    done('try-unplug');
    setTimeout(() => ($('unplug').disabled = false), ms);
  } catch ({ message }) {
    $('unplug').disabled = false;
    tell('Not unplugged: ' + message);
  }
}

// --- The page ---

const turns = new Map(); // that are shown, by the ids of their streams
const most = 50;

/** Shows a question, and how to show its answer. */
function showTurn(id, question, mine, ts) {
  const answer = element('div', { className: 'answer', ariaLive: 'off' });
  const state = element('span', { className: 'badge' });
  const count = element('span', { className: 'soft' });
  const stop = element('button', { type: 'button', className: 'stop', hidden: true }, 'Stop');
  const item = element('li', { className: 'turn' },
    element('p', { className: 'question' }, element('span', { className: 'by' }, mine ? 'You' : 'Somebody', ' ', time(ts)), element('b', {}, String(question))),
    answer,
    element('p', { className: 'foot' }, state, count, stop));
  item.dataset.id = id;
  let seen = 0; // characters
  let seenOn = 0; // which connection
  let drawn; // what is due
  const draw = () => {
    if (drawn === undefined) return;
    const list = $('turns');
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
    answer.replaceChildren(...markdown(drawn));
    if (atEnd) list.scrollTop = list.scrollHeight;
    drawn = undefined;
  };
  const become = (now) => {
    item.dataset.state = state.textContent = now;
    stop.hidden = now !== 'streaming';
  };
  const turn = {
    item,
    stop,
    /** The server tells how it has ended, and what it was: enough for who has not followed it. */
    ended({ text, error }, now) {
      turn.over = true;
      if (!turn.follows) turn.end(text ?? '', text === undefined ? 'gone' : now, error, true);
    },
    show(all, now, quiet) {
      if (drawn === undefined) requestAnimationFrame(draw); // more often nobody would see it
      drawn = all;
      const came = all.length - seen;
      const late = !seen && came > 200;
      if (late && !quiet) saw(`${came} characters at once: the text so far`, 'good');
      if (late && !quiet && reloaded && now === 'streaming') done('try-reload');
      if (seen && seenOn !== opened) saw(`${came} characters at once: what was missed`, 'good');
      [seen, seenOn] = [all.length, opened];
      item.dataset.length = seen;
      count.textContent = `${words(all)} words`;
      become(now);
    },
    end(all, now, error, quiet) {
      turn.over = true;
      turn.show(all, now, quiet);
      draw(); // people and programs that read how it has ended find all of it
      count.textContent = now === 'gone' ? 'The server no longer has this answer.' : `${words(all)} words${error ? ': ' + error.message : ''}`;
      if (quiet) return;
      const byOther = now === 'cancelled' && !turn.stopped;
      saw(`The answer is ${now}${byOther ? ', by another tab' : ''}`, now === 'complete' ? 'good' : 'bad');
      if (byOther) done('try-stop');
    },
  };
  become('streaming');
  if (mine) done('try-ask');
  $('turns').append(item);
  $('turns').scrollTop = $('turns').scrollHeight;
  turns.set(id, turn);
  for (const [old, { item: shown }] of turns) {
    if (turns.size <= most) break;
    shown.remove();
    turns.delete(old);
  }
  return turn;
}

/** Takes note of what happened. */
function saw(text, kind) {
  const item = element('li', { className: kind }, element('span', {}, text), time(Date.now(), true));
  $('seen').append(item);
  if ($('seen').childElementCount > 200) $('seen').firstElementChild.remove();
  $('seen').scrollTop = $('seen').scrollHeight;
}

/** Ticks off what somebody has tried. */
function done(what) {
  $(what).classList.add('done');
  sessionStorage.setItem('ai.' + what, 'done');
}

const words = (text) => text.split(/\s+/).filter(Boolean).length;
const seconds = (ms) => (ms / 1000).toFixed(1) + '\u00a0s';

const reloaded = performance.getEntriesByType('navigation')[0]?.type === 'reload';
for (const { id } of $('tries').children) if (sessionStorage.getItem('ai.' + id)) done(id);

$('chat-name').textContent = '# ' + chat;
$('second').href = location.href;
$('suggestions').append(...[
  'Does this survive a reload?', 'Show me the Go code', 'SSE or WebSockets?', 'Write a limerick about a lost connection',
].map((text) => element('button', { type: 'button', onclick: () => ask(text) }, text)));
$('composer').addEventListener('submit', (submit) => {
  submit.preventDefault();
  const text = $('text').value.trim();
  $('text').value = '';
  if (text) ask(text);
});
$('unplug').addEventListener('click', unplug);
addEventListener('hashchange', () => location.reload());

showState('ws-state', rt);
rt.connect();
