import { RealtimeClient, RenClient, storageDelete, storageUpload } from '/api/maravilla/realtime.js';
import { $, complain, element, newId, rereading, send, showEvent, showState, tell } from '/shared/ui.js';

const folder = 'photos/';
const pause = 250; // milliseconds between two words of how far an upload is
const patience = 15_000; // milliseconds after which nothing more is expected of another's upload
const most = 20; // uploads of others shown at once

// --- The gallery: read when REN says that it has changed ---

const photos = rereading(async () => showPhotos(await send('GET', '/api/photos')));

/** Uploads one file. The server says whether it takes it. */
async function upload(file) {
  const id = newId();
  const stop = new AbortController();
  const item = newUpload(file.name, stop);
  let told = 0;
  const onProgress = ({ loaded, total }) => {
    const part = total ? loaded / total : 0;
    showProgress(item, part);
    if (Date.now() - told < pause) return; // others need not know every packet
    told = Date.now();
    tellOthers({ id, name: file.name, part });
  };
  try {
    await storageUpload(folder + file.name, file, { onProgress, signal: stop.signal });
  } catch (error) {
    if (!stop.signal.aborted) refuse(file.name, error);
  }
  tellOthers({ id, name: file.name, over: true });
  await photos();
  item.remove();
}

async function remove(path) {
  try {
    await storageDelete(path);
  } catch ({ message }) {
    tell('Not deleted: ' + message);
  }
  await photos();
}

/** Follows what is stored and deleted. */
function follow() {
  const ren = new RenClient({ subscriptions: ['storage'] });
  ren.on((event) => {
    const own = event.src === ren.getClientId();
    showEvent(event, own);
    if (event.k?.startsWith(folder) && !own) photos(); // what this tab has done itself it has read already
  });
  ren.onReset(photos);
  ren.onState((state) => {
    if (state === 'open' && photos.missed) photos();
  });
  ren.onError(complain);
  showState('ren-state', ren);
}

// --- Uploads of others: they tell how far they are ---

const rt = new RealtimeClient();
const others = new Map(); // id of an upload -> its item, and the timer that ends it

function tellOthers(progress) {
  rt.publish('uploads', progress).catch(() => {}); // it is only for show
}

rt.subscribe('uploads', ({ from, data }) => {
  const { id, name, part, over } = data ?? {};
  if (from === rt.getClientId() || typeof id !== 'string' || typeof name !== 'string') return; // anybody may publish anything here
  const known = others.get(id);
  clearTimeout(known?.timer);
  if (over) return forget(id);
  if (!known && others.size === most) return;
  const item = known?.item ?? newUpload(name);
  const timer = setTimeout(() => forget(id), patience);
  others.set(id, { item, timer });
  showProgress(item, Number(part) || 0);
});

function forget(id) {
  others.get(id)?.item.remove();
  others.delete(id);
}

// --- The page ---

const cards = new Map(); // by path; they stay, so that pictures do not flicker

function showPhotos(found) {
  const paths = new Set(found.map(({ path }) => path));
  for (const [path, card] of cards) {
    if (paths.has(path)) continue;
    cards.delete(path);
    card.remove();
  }
  found.forEach((photo, at) => {
    let card = cards.get(photo.path);
    if (card?.dataset.version !== photo.version) {
      card?.remove();
      cards.set(photo.path, (card = newCard(photo)));
    }
    if ($('photos').children[at] !== card) $('photos').insertBefore(card, $('photos').children[at] ?? null);
  });
  $('count').textContent = found.length;
}

function newCard({ path, size, type, version }) {
  const name = path.slice(folder.length);
  const address = `/api/storage/download?path=${encodeURIComponent(path)}&v=${version}`; // another one for other content
  const view = type.startsWith('image/')
    ? element('img', { src: address, alt: name, loading: 'lazy' })
    : element('span', { className: 'file' }, name.includes('.') ? name.split('.').at(-1).slice(0, 5) : 'file');
  const card = element('li', { className: 'card flash' },
    element('a', { href: address, target: '_blank', ariaLabel: `Open ${name}` }, view),
    element('p', {}, element('b', { className: 'name', title: name }, name), element('span', { className: 'soft' }, bytes(size))),
    element('button', { type: 'button', className: 'delete', ariaLabel: `Delete ${name}`, onclick: () => remove(path) }, '×'));
  Object.assign(card.dataset, { name, version });
  return card;
}

/** Shows an upload; one of this tab, if it can be stopped. */
function newUpload(name, stop) {
  const item = element('li', {},
    element('span', { className: stop ? 'badge' : 'badge other' }, stop ? 'you' : 'somebody else'),
    element('b', { className: 'name' }, name),
    element('progress', { max: 1, value: 0, ariaLabel: `Upload of ${name}` }),
    element('output', {}, '0 %'),
    stop && element('button', { type: 'button', className: 'plain', onclick: () => stop.abort() }, 'Stop'));
  item.dataset.name = name;
  $('under-way').append(item);
  return item;
}

function showProgress(item, part) {
  item.querySelector('progress').value = part;
  item.querySelector('output').textContent = Math.floor(part * 100) + ' %';
}

const reasons = {
  bad_name: 'no file can be stored under that name',
  network: 'the connection broke',
};

function refuse(name, { code = 'network', message }) {
  const item = element('li', {},
    element('span', { className: 'badge hot' }, 'refused'),
    element('p', {}, element('b', {}, name), ' ', reasons[code] ?? message),
    element('button', { type: 'button', className: 'plain', onclick: () => item.remove() }, 'Dismiss'));
  item.dataset.code = code;
  $('refused').append(item);
}

function bytes(n) {
  if (n < 1 << 10) return n + ' B';
  return n < 1 << 20 ? (n / (1 << 10)).toFixed(0) + ' KiB' : (n / (1 << 20)).toFixed(1) + ' MiB';
}

/** Uploads files one after another, which is as fast as all at once. */
async function uploadAll(files) {
  for (const file of [...files]) await upload(file);
}

$('files').addEventListener('change', async () => {
  await uploadAll($('files').files);
  $('files').value = '';
});
addEventListener('paste', ({ clipboardData }) => uploadAll(clipboardData.files));
addEventListener('dragover', (drag) => {
  drag.preventDefault();
  $('drop').classList.add('over');
});
addEventListener('dragleave', ({ relatedTarget }) => relatedTarget || $('drop').classList.remove('over'));
addEventListener('drop', (drop) => {
  drop.preventDefault();
  $('drop').classList.remove('over');
  uploadAll(drop.dataTransfer.files);
});

rt.connect();
rt.onError(complain);
showState('ws-state', rt);
await photos(); // first, so that the stream begins where this was read, and no picture escapes it
follow();
