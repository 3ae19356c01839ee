// What a tab does at what the others of its group say.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { createMember, type Member, type Said } from '../src/share/tabGroup.js';
import { begin, pass, settle } from './fakes.js';
import { installTabs, locks, Tab } from './tabs.js';

interface Word extends Said<string> {
  word?: string;
}

let done: string[];
let tab: Tab;
let member: Member<Word>;
let other: Tab;
let channel: BroadcastChannel;

beforeEach(async () => {
  begin();
  installTabs();
  done = [];
  [tab, other] = [new Tab(), new Tab()];
  other.run(() => {
    channel = new BroadcastChannel('group');
    void navigator.locks.request('group', {}, () => new Promise(() => {})).catch(() => done.push('stolen'));
  });
  await settle();
  tab.run(() => {
    member = createMember<string, Word>({
      ask_: () => 'please',
      dial_: () => done.push('dial'),
      lead_: () => void done.push('lead'),
      answer_: (who, ask) => void done.push(`serve ${who} ${ask}`),
      follow_: () => void done.push('follow'),
      alone_: () => void done.push('alone'),
      take_: ({ word }) => void done.push('hear ' + word),
      end_: () => void done.push('end'),
    });
    assert.ok(member.join_('group'));
    member.opened_();
  });
  await settle();
});

async function say(...words: Word[]): Promise<void> {
  other.run(() => words.forEach((word) => channel.postMessage(word)));
  await settle();
}

test('who follows hears its leader, until there is another one', async () => {
  await say({ from: 'old', to: member.id }, { from: 'old', word: '1' }, { from: 'new', word: 'x' });
  await say({ from: 'new', lead: true }, { from: 'old', word: '2' }, { from: 'new', to: member.id }, { from: 'new', word: '3' });
  assert.deepEqual(done, ['follow', 'hear 1', 'follow', 'hear 3']);
});

test('the lead comes after what the last leader has said', async () => {
  await say({ from: 'old', to: member.id });
  tab.hang(); // messages are slower than locks
  await say({ from: 'old', word: 'last' }, { from: 'old', end: 1 });
  await other.kill();
  assert.deepEqual(done, ['follow']);
  tab.wake();
  await settle();
  assert.deepEqual(done, ['follow', 'hear last', 'end', 'dial']);
});

test('the lead that comes to who waits for an answer needs no other connection', async () => {
  await other.kill();
  await settle();
  assert.deepEqual(done, ['lead']);
  await pass(10_000);
  assert.deepEqual(done, ['lead']);
});

test('who has left takes nothing from anybody', async () => {
  tab.run(() => member.leave_());
  await pass(10_000);
  assert.deepEqual([done, locks.queue.length], [[], 1]);
});

test('an answer that nobody waits for is not heeded', async () => {
  tab.run(() => member.forget_());
  await say({ from: 'old', to: member.id });
  assert.deepEqual(done, []);
});

test('of another group it is not', () => assert.ok(!tab.run(() => member.join_('another'))));
