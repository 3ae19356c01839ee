// The inspector's page. It asks its server for one view every two seconds, and follows
// the tail of events as a stream. Nothing is rendered as HTML.

import { bytes, facts, h, number, open, short, span, spark, tag, time } from './dom.js';

const every = 2000;
const main = document.getElementById('main');
const $ = (id) => document.getElementById(id);

// The server.

let state = { view: '', page: 0, q: {} };
let asking; // AbortController of the request under way
let timer;
let paused = false;
let tail; // EventSource
const nodes = new Set();

class Refused extends Error {}

async function ask(path, params = {}, options = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, v]) => v !== '' && v !== undefined && v !== false));
  const response = await fetch(`${path}?${query}`, { cache: 'no-store', ...options });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(body.message ?? response.statusText);
  return body;
}

function say(kind, text) {
  const e = $('state');
  if (e.textContent !== text) e.textContent = text;
  e.dataset.state = kind;
}

/** seen notes which node has answered: behind a load balancer they may be several. */
function seen(node) {
  if (!node) return;
  nodes.add(node);
  $('warning').hidden = nodes.size < 2;
  if (nodes.size > 1) {
    $('warning').textContent =
      `Answers come from ${nodes.size} nodes in turn, so what you see changes with each. Open the inspector at the address of one node.`;
  }
}

async function refresh() {
  clearTimeout(timer);
  const view = views[state.view];
  if (!view.url) return;
  asking?.abort();
  const mine = (asking = new AbortController());
  let data;
  try {
    data = await ask(view.url, { ...state.q, page: state.page || '' }, { signal: mine.signal });
  } catch (err) {
    if (!mine.signal.aborted) say('bad', err instanceof Refused ? err.message : 'The server does not answer');
  }
  if (mine.signal.aborted) return;
  if (!paused && !document.hidden) timer = setTimeout(refresh, every);
  if (!data) return;
  seen(data.node);
  keepFocus(() => view.show(data));
  say(paused ? 'wait' : 'live', paused ? 'Paused' : 'Live');
}

/** keepFocus restores the focus when what had it has been made again. */
function keepFocus(render) {
  const key = document.activeElement?.dataset.key;
  render();
  if (key && document.activeElement?.dataset.key !== key) {
    document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
  }
}

// Parts of views.

function head(title, text) {
  return [h('h2', {}, title), h('p', { class: 'soft' }, text)];
}

/** field is a labelled input that filters the view as one types. */
function field(label, name, placeholder = '', type = 'search') {
  let wait;
  const input = h('input', {
    type, placeholder, spellcheck: 'false', autocomplete: 'off', value: state.q[name] ?? '', 'data-key': `field-${name}`,
    oninput: () => {
      clearTimeout(wait);
      wait = setTimeout(() => ((state.q[name] = input.value), (state.page = 0), remember(), refresh()), 250);
    },
  });
  return h('label', {}, label, input);
}

function choice(label, name, options) {
  const select = h('select', { onchange: () => ((state.q[name] = select.value), (state.page = 0), remember(), refresh()) },
    options.map(([value, text]) => h('option', { value, selected: (state.q[name] ?? '') === value }, text)));
  return h('label', {}, label, select);
}

/** list is a table with pages. Columns: [title, name to sort by or '', cell, class]. */
function list(caption, columns, none) {
  const body = h('tbody');
  const out = h('output', { 'aria-live': 'polite' });
  const place = h('span', { class: 'soft' });
  const turn = (by) => () => ((state.page += by), remember(), refresh());
  const back = h('button', { type: 'button', onclick: turn(-1) }, 'Previous');
  const on = h('button', { type: 'button', onclick: turn(1) }, 'Next');
  const pages = h('div', { class: 'pages' }, place, back, on);
  const heads = columns.map(([title, sort, , cls]) =>
    h('th', { scope: 'col', class: cls === 'num' ? 'num' : '' }, sort ? h('button', { type: 'button', 'data-sort': sort, onclick: () => order(sort) }, title) : title));
  const table = h('div', { class: 'table', tabindex: '0', role: 'region', 'aria-label': caption },
    h('table', {}, h('caption', {}, caption), h('thead', {}, h('tr', {}, heads)), body));
  function order(sort) {
    const desc = state.q.sort === sort ? !state.q.desc : ['lag', 'age', 'followers'].includes(sort);
    Object.assign(state.q, { sort, desc: desc ? '1' : '' });
    state.page = 0;
    remember();
    refresh();
  }
  function show(data) {
    heads.forEach((th) => {
      const sort = th.firstElementChild?.dataset.sort;
      if (sort && sort === state.q.sort) th.setAttribute('aria-sort', state.q.desc ? 'descending' : 'ascending');
      else th.removeAttribute('aria-sort');
    });
    const rows = data.rows.map((row) => h('tr', {}, columns.map(([, , cell, cls]) => h('td', { class: cls ?? '' }, cell(row)))));
    body.replaceChildren(...(rows.length ? rows : [h('tr', {}, h('td', { class: 'none', colspan: columns.length }, none))]));
    const text = data.matched === data.total ? number(data.total) : `${number(data.matched)} of ${number(data.total)}`;
    if (out.textContent !== text) out.textContent = text;
    pages.hidden = data.pages < 2;
    state.page = data.page;
    place.textContent = `Page ${data.page + 1} of ${number(data.pages)}`;
    back.disabled = data.page === 0;
    on.disabled = data.page + 1 >= data.pages;
  }
  return { parts: [table, pages], out, show };
}

const dialog = h('dialog', { 'aria-labelledby': 'dialog-title', onclick: (e) => e.target === dialog && dialog.close() });
document.body.append(dialog);

/** details shows something beside the page. */
function details(title, ...parts) {
  dialog.replaceChildren(
    h('button', { type: 'button', class: 'close', onclick: () => dialog.close() }, 'Close'),
    h('h2', { id: 'dialog-title' }, title), ...parts.flat());
  if (!dialog.open) dialog.showModal();
}

async function showConnection(id) {
  try {
    const c = await ask('connection', { id });
    details(c.user || 'Anonymous',
      facts([['Kind', kinds[c.kind]], ['Address', c.address], ['Client', c.source || '–'], ['Connected for', span(c.age)],
        ['Waiting', c.unread ? `${number(c.unread)} events, for ${span(c.lag)}` : 'nothing'], ['Connection', `#${c.id}`]]),
      h('h3', {}, c.kind === 'ren' ? 'It is granted' : 'It follows'),
      h('ul', {}, (c.sees ?? []).map((s) => h('li', {}, s)), c.more ? h('li', {}, `and ${number(c.more)} more`) : null, c.sees ? null : h('li', { class: 'soft' }, 'nothing')),
      c.joined ? [h('h3', {}, 'It is present in'), h('ul', {}, c.joined.map((s) => h('li', {}, s)))] : null);
  } catch (err) {
    details('Gone', h('p', {}, err.message));
  }
}

async function showChannel(name) {
  try {
    const c = await ask('channel', { name });
    const link = (view, q, text) => h('a', { href: address(view, q), onclick: () => dialog.close() }, text);
    details(name,
      facts([['Members, on all nodes', number(c.total)],
        ['Followers, on this node', link('connections', { channel: name }, number(c.followers))], ['Events', link('events', { channel: name }, 'Follow them')]]),
      h('h3', {}, 'Members'),
      h('ul', {}, c.members.map((m) => h('li', {}, m.user, ' ', h('span', { class: 'soft' }, `seen ${time(m.seen)}`), m.metadata ? h('pre', {}, JSON.stringify(m.metadata, null, 2)) : null)),
        c.total > c.members.length ? h('li', {}, `and ${number(c.total - c.members.length)} more`) : null, c.total ? null : h('li', { class: 'soft' }, 'nobody')));
  } catch (err) {
    details(name, h('p', {}, err.message));
  }
}

// The views.

const kinds = { ren: 'REN stream', websocket: 'WebSocket' };
const views = {};

views.overview = {
  url: 'overview',
  make() {
    this.body = h('div');
    return [...head('What is going on', 'On this node, now. Charts begin when somebody opens this page.'), this.body];
  },
  show(o) {
    const s = o.samples, last = s.at(-1);
    $('node').textContent = `Node ${short(o.node)}, up for ${span((Date.now() - o.started) / 1000)}`;
    const card = (title, figure, unit, of) => h('section', { class: 'card' }, h('h3', {}, title),
      h('p', { class: 'figure' }, figure, ' ', h('small', {}, unit)), spark(`${title} in the last minutes: ${figure}`, s.map(of), Math.max(s.length, 30)));
    const rows = (title, list, none) => h('section', { class: 'card' }, h('h3', {}, title),
      list?.length ? h('dl', {}, list.slice(0, 8).flatMap((x) => [h('dt', {}, x.name), h('dd', {}, number(x.n))])) : h('p', { class: 'soft' }, none));
    this.body.replaceChildren(
      h('ul', { class: 'concerns', 'aria-label': 'What needs attention' },
        o.concerns?.length
          ? o.concerns.map((c) => h('li', { class: c.bad ? 'bad' : 'odd' }, c.text, c.view ? h('a', { href: `#${c.view}`, 'data-key': `concern-${c.text}` }, 'Show') : null))
          : h('li', { class: 'good' }, 'Nothing needs attention')),
      h('div', { class: 'cards figures' },
        card('Connections', number(last.ren + last.webSocket), `${number(last.webSocket)} WebSockets, ${number(last.ren)} streams`, (x) => x.ren + x.webSocket),
        card('Published', number(last.published), 'events a second', (x) => x.published),
        card('Delivered', number(last.delivered), 'events a second', (x) => x.delivered),
        card('Latency', number(last.latency), 'ms, p99, node to client', (x) => x.latency),
        card('Waiting', number(last.writing), 'clients that read slowly', (x) => x.writing),
        card('Refused', number(last.refused), 'a second', (x) => x.refused)),
      h('div', { class: 'cards' },
        h('section', { class: 'card' }, h('h3', {}, 'Here'), h('dl', {},
          [['Users', o.users], ['Channels', o.channels], ['Members', o.members], ['Events kept', o.events]]
            .flatMap(([dt, n]) => [h('dt', {}, dt), h('dd', {}, number(n))]),
          h('dt', {}, 'Their size'), h('dd', {}, bytes(o.bytes)), h('dt', {}, 'Their age'), h('dd', {}, span(o.age)))),
        h('section', { class: 'card' }, h('h3', {}, 'Nodes of the cluster'),
          h('dl', {}, (o.nodes ?? [o.node]).flatMap((n) => [h('dt', { title: n }, short(n)), h('dd', {}, n === o.node ? tag('this one') : tag('alive', 'good'))]))),
        rows('Connections that ended', o.ended, 'none yet'),
        rows('Refused since the start', o.refused, 'nothing yet')));
  },
};

views.connections = {
  url: 'connections',
  make() {
    this.list = list('Connections', [
      ['User', 'user', (c) => open(`connection-${c.id}`, c.user || 'anonymous', () => showConnection(c.id))],
      ['Kind', 'kind', (c) => kinds[c.kind]],
      ['Address', 'address', (c) => c.address],
      ['Client', '', (c) => h('code', {}, c.source || '–')],
      ['Age', 'age', (c) => span(c.age), 'num'],
      ['Lag', 'lag', (c) => (c.unread ? tag(`${span(c.lag)}, ${number(c.unread)} events`, c.lag > 5 ? 'bad' : 'odd') : c.writing ? tag('waits for the client', 'odd') : 'none'), 'num'],
    ], 'No connection matches');
    return [...head('Connections', 'Open on this node. Choose one to see what it may see.'),
      h('div', { class: 'tools' }, field('User, address or client', 'q', 'ada'), choice('Kind', 'kind', [['', 'All'], ['websocket', 'WebSockets'], ['ren', 'REN streams']]),
        field('Follows the channel', 'channel', 'room:42'), this.list.out), ...this.list.parts];
  },
  show(data) { this.list.show(data); },
};

views.channels = {
  url: 'channels',
  make() {
    this.list = list('Channels', [
      ['Channel', 'name', (c) => open(`channel-${c.name}`, c.name, () => showChannel(c.name))],
      ['Followers on this node', 'followers', (c) => number(c.followers), 'num'],
    ], 'No channel matches');
    return [...head('Channels', 'Followed, with members, or with a message in the last five minutes, on any node. Choose one to see who is there.'),
      h('div', { class: 'tools' }, field('Name', 'q', 'room'), this.list.out), ...this.list.parts];
  },
  show(data) { this.list.show(data); },
};

const tailed = 200;
views.events = {
  make() {
    this.rows = h('tbody');
    this.out = h('output', {}, 'Nothing has come yet');
    this.n = this.missed = 0;
    const filter = (label, name, hint) => {
      const input = h('input', { type: 'search', placeholder: hint, value: state.q[name] ?? '', spellcheck: 'false', 'data-key': `field-${name}`,
        onchange: () => ((state.q[name] = input.value), remember(), this.follow()) });
      return h('label', {}, label, input);
    };
    return [...head('Events', 'As this node delivers them, from now on. Patterns may have *, as in room:*.'),
      h('div', { class: 'tools' }, filter('Channel', 'channel', 'room:*'), filter('Resource', 'resource', 'kv'), filter('Type', 'type', 'presence.*'), filter('Key', 'key', 'user:*'),
        h('button', { type: 'button', onclick: () => this.rows.replaceChildren() }, 'Clear'), this.out),
      h('div', { class: 'table', tabindex: '0', role: 'region', 'aria-label': 'Events' }, h('table', {}, h('caption', {}, 'Events, the newest first'),
        h('thead', {}, h('tr', {}, ['Time', 'Type', 'Channel or key', 'User', 'Data'].map((t) => h('th', { scope: 'col' }, t)))), this.rows))];
  },
  follow() {
    tail?.close();
    if (paused) return;
    const query = new URLSearchParams(Object.entries(state.q).filter(([, v]) => v));
    const mine = (tail = new EventSource(`events?${query}`));
    mine.onopen = () => say('live', 'Live');
    mine.onerror = async () => {
      say('bad', 'The stream is interrupted');
      if (mine.readyState !== EventSource.CLOSED) return;
      const why = await ask('events', state.q).catch((err) => err.message); // a pattern that is none
      if (mine === tail && typeof why === 'string') say('bad', why);
    };
    mine.onmessage = (e) => this.add(JSON.parse(e.data));
    mine.addEventListener('missed', (e) => ((this.missed += JSON.parse(e.data)), this.told()));
  },
  told() {
    this.out.textContent = `${number(this.n)} shown${this.missed ? `, ${number(this.missed)} more came too fast to be shown` : ''}`;
  },
  add(ev) {
    this.n++;
    this.told();
    const data = ev.data ?? '';
    const more = () => details(ev.t, facts([['Channel', ev.ch ?? '–'], ['Key', ev.k ? `${ev.ns ?? ''} ${ev.k}` : '–'], ['User', ev.uid ?? '–'], ['Client', ev.src ?? '–'],
      ['Published', time(ev.at)], ['Data', bytes(ev.size)]]), data ? h('pre', {}, data, ev.size > data.length ? '…' : '') : null);
    this.rows.prepend(h('tr', {}, h('td', {}, time(ev.at)), h('td', {}, tag(ev.t)), h('td', {}, ev.ch ?? [ev.ns, ev.k].filter(Boolean).join(' ')),
      h('td', {}, ev.uid ?? ''), h('td', {}, h('button', { type: 'button', class: 'link', onclick: more }, h('code', {}, data ? data.slice(0, 80) : 'none')))));
    while (this.rows.children.length > tailed) this.rows.lastChild.remove();
  },
};

views.refusals = {
  url: 'refusals',
  make() {
    const worst = ['forbidden', 'unauthorized', 'origin', 'host'];
    this.list = list('Refusals', [
      ['Time', '', (f) => time(f.at)],
      ['Code', '', (f) => tag(f.code, worst.includes(f.code) ? 'bad' : 'odd')],
      ['User', '', (f) => f.user || 'unknown'],
      ['Action', '', (f) => (f.verb ? `${f.verb} ${f.name}` : '–')],
      ['Why', '', (f) => f.reason, 'text'],
      ['Address', '', (f) => f.address || '–'],
      ['Times', '', (f) => number(f.count), 'num'],
    ], 'Nothing was refused');
    return [...head('Why was this refused?', 'The newest refusals of this node, with the reason that the client is not told.'),
      h('div', { class: 'tools' }, field('User, code, channel or reason', 'q', 'ada'), this.list.out), ...this.list.parts];
  },
  show(data) { this.list.show(data); },
};

views.groups = {
  url: 'groups',
  make() {
    this.body = h('div');
    this.said = h('p', { role: 'status', class: 'soft' }, '\u00a0');
    return [...head('Groups of handlers', 'How far they are, and what they have given up. One node at a time works for a group.'), this.body, this.said];
  },
  retrying: new Set(),
  /** retry hands a dead letter to its handler once more. */
  async retry(d) {
    const id = JSON.stringify(d.id);
    const what = `${d.type} ${d.name}`;
    this.retrying.add(id);
    this.said.textContent = `Retrying ${what}`;
    refresh();
    const said = await ask('retry', {}, { method: 'POST', body: id }).catch((err) => ({ outcome: 'refused', error: err.message }));
    this.retrying.delete(id);
    this.said.textContent = {
      handled: `${what} was handled`, failed: `${what} has failed again: ${said.error}`, gone: `${what} is no longer in the log`,
    }[said.outcome] ?? `${what} was not retried: ${said.error}`;
    if (state.view === 'groups') refresh();
  },
  show({ groups, dead }) {
    const table = (caption, heads, rows, none) => h('div', { class: 'table', tabindex: '0', role: 'region', 'aria-label': caption }, h('table', {}, h('caption', {}, caption),
      h('thead', {}, h('tr', {}, heads.map((t) => h('th', { scope: 'col' }, t)))),
      h('tbody', {}, rows.length ? rows.map((cells) => h('tr', {}, cells.map((c) => (c instanceof HTMLTableCellElement ? c : h('td', {}, c))))) : h('tr', {}, h('td', { class: 'none', colspan: heads.length }, none)))));
    this.body.replaceChildren(
      table('Groups', ['Group', 'Worked on', 'Waiting', 'Lag', 'Calls', 'Retries', 'Given up'], groups.map((g) => [
        g.name, g.held ? tag('here', 'good') : tag('elsewhere'), number(g.pending),
        g.lag ? tag(`${number(g.lag)} records, ${span(g.lagTime)}`, g.lagTime > 10 ? 'bad' : 'odd') : 'none', number(g.calls), number(g.retries),
        g.deadLetters ? tag(number(g.deadLetters), 'bad') : 'none']), 'There are no groups of handlers'),
      h('p', {}, '\u00a0'), h('h3', {}, 'Dead letters'),
      table('Dead letters, the newest first', ['Published', 'Group', 'Event', 'Attempts', 'Error', 'Handle it'], dead.map((d) => {
        const id = JSON.stringify(d.id), busy = this.retrying.has(id);
        return [time(d.at), d.group, `${d.type} ${d.name}`, number(d.attempts), h('td', { class: 'text' }, d.error),
          h('button', { type: 'button', 'data-key': `retry-${id}`, 'aria-disabled': busy && 'true', 'aria-label': `Retry ${d.type} ${d.name}`,
            onclick: () => busy || this.retry(d) }, busy ? 'Retrying' : 'Retry')];
      }), 'Nothing was given up on this node'));
  },
};

views.proxies = {
  make() {
    const url = h('input', { class: 'wide', type: 'url', value: new URL('../api/maravilla/', location).href, required: true });
    const button = h('button', { type: 'submit', class: 'main' }, 'Examine');
    const out = h('div', { role: 'status' });
    const examine = async () => {
      button.disabled = true;
      out.replaceChildren(h('p', { class: 'soft' }, 'Examining. It takes half a minute: a silent connection has to be watched.'));
      try {
        out.replaceChildren(...this.result(await ask('diagnose', {}, { method: 'POST', body: url.value })));
      } catch (err) {
        out.replaceChildren(h('p', { class: 'concerns' }, err.message));
      }
      button.disabled = false;
    };
    return [...head('Proxies', 'What stands between your clients and this node, and whether it lets streams and WebSockets through.'),
      h('form', { class: 'tools', onsubmit: (e) => (e.preventDefault(), examine()) }, h('label', {}, 'Public URL, as clients use it', url), button), out];
  },
  result(d) {
    const through = d.proxies.length ? `Through ${d.proxies.join(' and ')}. ` : '';
    if (!d.findings.length) return [h('ul', { class: 'concerns' }, h('li', { class: 'good' }, `${through}All is well.`))];
    return [through ? h('p', { class: 'soft' }, through) : null, ...d.findings.map((f) => h('section', { class: 'card finding' },
      h('h3', {}, tag(f.fault ? 'fault' : 'advice', f.fault ? 'bad' : 'odd'), ` ${f.code}`), h('p', {}, f.problem),
      h('dl', {}, Object.entries(f.remedies ?? {}).sort(([a], [b]) => d.proxies.includes(b) - d.proxies.includes(a))
        .flatMap(([who, line]) => [h('dt', {}, who), h('dd', {}, h('code', {}, line))]))))].filter(Boolean);
  },
};

// Addresses: the part after # has the view, and what it is filtered by.

function address(view, q = {}, page = 0) {
  const params = new URLSearchParams(Object.entries({ ...q, page: page || '' }).filter(([, v]) => v));
  return `#${view}${params.size ? `?${params}` : ''}`;
}

/** remember keeps the filter in the address, so that it can be sent to somebody. */
function remember() {
  history.replaceState(null, '', address(state.view, state.q, state.page));
}

function go() {
  const [name, query] = location.hash.slice(1).split('?');
  const q = Object.fromEntries(new URLSearchParams(query));
  const { page, ...rest } = q;
  const changed = state.view !== '';
  state = { view: Object.hasOwn(views, name) ? name : 'overview', page: Number(page) || 0, q: rest };
  tail?.close();
  tail = undefined;
  for (const a of document.querySelectorAll('nav a')) {
    if (a.hash === `#${state.view}`) a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
  }
  main.replaceChildren(...views[state.view].make());
  document.title = `${main.querySelector('h2').textContent} · Inspector`;
  if (changed) main.focus();
  views[state.view].follow?.();
  refresh();
}

$('pause').addEventListener('click', () => {
  paused = !paused;
  $('pause').setAttribute('aria-pressed', paused);
  say('wait', 'Paused');
  if (!paused) refresh();
  views[state.view].follow?.();
});
document.addEventListener('visibilitychange', () => document.hidden || paused || refresh());
window.addEventListener('hashchange', go);
go();
