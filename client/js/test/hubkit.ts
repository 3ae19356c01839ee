// The hub that the tests are about: what it sends, and what it tells the tabs.
import { beforeEach } from 'node:test';
import { createHub, type Hub, type Line } from '../src/share/hub.js';
import { begin, type Op } from './fakes.js';

export let hub: Hub;
export let sent: Op[];
export let told: Line[];
export let alone: string[];
export let ref: number;

beforeEach(() => {
  begin();
  [sent, told, alone, ref] = [[], [], [], 0];
  hub = createHub({ rate: 10, burst: 10 }, (text) => sent.push(JSON.parse(text) as Op), (lines) => {
    for (const line of lines) if (line[1] === undefined) alone.push(line[0]!);
    else told.push(line);
  }, 'ada');
  hub.add_('a', 'client of a');
  hub.add_('b', 'client of b');
});

export const op = (tab: string, what: string, more: object = {}): void => hub.ask_(tab, JSON.stringify({ ref: ++ref, op: what, channel: 'room', ...more }));
export const answer = (frame: object): void => hub.take_(JSON.stringify({ ref: sent.at(-1)!.ref, ...frame }));
export const list = (): unknown[] => sent.map(({ op: name, cid }) => [name, cid]);
