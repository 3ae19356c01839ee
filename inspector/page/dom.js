// Elements, and numbers and times for people.

/** h makes an element. */
export function h(tag, props = {}, ...children) {
  const svg = ['svg', 'path', 'title'].includes(tag);
  const e = svg ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
    else if (value === true) e.setAttribute(name, '');
    else if (value !== false && value !== undefined && value !== null) e.setAttribute(name, value);
  }
  e.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

// Numbers and times, for people.

const count = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
export const number = (n) => count.format(n ?? 0);
export const time = (ms) => clock.format(new Date(ms));

export function span(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${number(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

export function bytes(n) {
  if (n < 1024) return `${n} B`;
  return n < 1048576 ? `${number(n / 1024)} KiB` : `${number(n / 1048576)} MiB`;
}

/** short is the part of a node's name by which people tell it from others. */
export const short = (node) => (node.length > 10 ? `${node.slice(0, 8)}…` : node);

export const tag = (text, kind = '') => h('span', { class: `tag ${kind}` }, text);
export const open = (key, text, onclick) => h('button', { type: 'button', class: 'link', 'data-key': key, onclick }, text);

export const facts = (pairs) => h('dl', {}, pairs.flatMap(([dt, dd]) => [h('dt', {}, dt), h('dd', {}, dd)]));

/** spark draws a chart of values, the newest on the right. */
export function spark(label, values, room) {
  const W = 200, H = 40;
  const most = Math.max(...values, 1e-9);
  const x = (i) => (room < 2 ? W : W - ((values.length - 1 - i) * W) / (room - 1));
  const points = values.map((v, i) => `${x(i).toFixed(1)} ${(H - (v / most) * (H - 4)).toFixed(1)}`);
  const line = points.length ? `M${points.join('L')}` : '';
  const area = points.length ? `${line}L${W} ${H}L${x(0).toFixed(1)} ${H}Z` : '';
  return h('svg', { class: 'spark', viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    h('path', { class: 'area', d: area }), h('path', { d: line }));
}
