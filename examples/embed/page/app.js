import { RealtimeClient, RenClient } from '/api/maravilla/realtime.js';
import { $, avatar, complain, element, rereading, send, showEvent, showState, tell } from '/shared/ui.js';

const { user, name, team } = document.body.dataset;
const next = { new: 'Pack', packed: 'Ship' };

// --- The orders: read when the server says that the team's have changed ---

const orders = rereading(async () => showOrders(await send('GET', '/api/orders')));

async function write(path, body) {
  try {
    await send('POST', '/api/orders' + path, body);
  } catch ({ message }) {
    tell('Not done: ' + message);
  }
  await orders();
}

/** Follows what happens to the orders of the team. Of others' nothing comes here. */
function follow() {
  const ren = new RenClient({ subscriptions: ['db'] });
  ren.on((event) => {
    const own = event.src === ren.getClientId();
    showEvent(event, own);
    if (event.ns === 'orders' && !own) orders();
  });
  ren.onReset(orders);
  ren.onState((state) => {
    if (state === 'open' && orders.missed) orders();
  });
  ren.onError(leave); // the server will have no more of it
  showState('ren-state', ren);
}

function leave(error) {
  if (['unauthorized', 'expired', 'forbidden'].includes(error.code)) location.assign('/login?ended');
  else complain(error);
}

// --- The team: present in a channel that only its members can join. The server knows who this is. ---

const rt = new RealtimeClient();
const online = new Map();
const presence = rt.presence('team:' + team);
presence.onJoin((member) => {
  online.set(member.userId, member.metadata);
  showTeam();
});
presence.onLeave(({ userId }) => {
  online.delete(userId);
  showTeam();
});
presence.join(undefined, { name });

// --- The page ---

function showOrders(found) {
  const at = document.activeElement?.closest('#orders li')?.dataset.id;
  $('orders').replaceChildren(...found.toReversed().map(({ id, item, status }) => {
    const row = element('li', {},
      element('span', { className: 'soft' }, '#' + id),
      element('span', { className: 'what' }, item),
      element('span', { className: 'badge ' + { new: 'other', packed: 'warm', shipped: 'fine' }[status] }, status),
      element('button', {
        type: 'button', className: 'plain', disabled: !next[status], ariaLabel: `${next[status] ?? 'Done'}: ${item}`,
        onclick: () => write(`/${id}/advance`),
      }, next[status] ?? 'Done'));
    Object.assign(row.dataset, { id, status });
    return row;
  }));
  $('orders').querySelector(`[data-id="${at}"] button`)?.focus(); // where the keyboard was
}

function showTeam() {
  $('team').replaceChildren(...[...online].sort().map(([id, metadata]) => {
    const label = String(metadata?.name ?? id) + (id === user ? ' (you)' : '');
    return element('li', { title: label }, avatar(id, label.split(' ')[0]), element('span', { className: 'hidden' }, label));
  }));
}

$('add').addEventListener('submit', (submit) => {
  submit.preventDefault();
  const item = $('item').value.trim();
  if (!item) return;
  $('item').value = '';
  write('', { item });
});

rt.connect();
rt.onError(leave);
showState('ws-state', rt);
await orders(); // first, so that the stream begins where this was read, and no order escapes it
follow();
