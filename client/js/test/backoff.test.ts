// testdata/backoff.json, the rule by which all clients come back.
import assert from 'node:assert/strict';
import { afterEach, mock, test } from 'node:test';
import { realtimeEnd, renEnd, type End } from './ends.js';
import { begin, clock, dice, pass, requests, settle, type FakePage } from './fakes.js';
import { testdata } from './testdata.js';

interface Step {
  openMs?: number;
  retryMs?: number;
  retryAfterMs?: number;
  byeMs?: number;
  waitMs: [number, number];
}
interface Table {
  rule: { leastMs: number };
  cases: { name: string; maxBackoffMs?: number; steps: Step[] }[];
  credentials: { name: string; deniedMs: number[]; lostMs?: number[]; nextMs: [number, number] | null }[];
}

const table = testdata<Table>('backoff.json');
const ends = { RenClient: renEnd, RealtimeClient: realtimeEnd };

afterEach(() => mock.restoreAll());

for (const [kind, open] of Object.entries(ends)) {
  for (const { name, maxBackoffMs, steps } of table.cases) {
    // What only a stream says a WebSocket cannot.
    if (kind === 'RealtimeClient' && steps.some(({ retryMs, retryAfterMs }) => retryMs ?? retryAfterMs)) continue;
    test(`${kind}: ${name}`, async () => {
      for (const roll of [0, 1]) {
        begin();
        dice(roll);
        const end = await open({ maxBackoffMs });
        for (const { openMs, retryMs, retryAfterMs, byeMs, waitMs } of steps) {
          if (openMs !== undefined) await end.greet(retryMs === undefined ? {} : { retryMs });
          for (let left = openMs ?? 0; left > 0; left -= 25_000) {
            await pass(Math.min(left, 25_000));
            await end.beat();
          }
          const from = clock.now;
          const n = end.attempts().length;
          if (byeMs !== undefined) await end.bye(byeMs);
          else if (retryAfterMs === undefined) await end.cut();
          else await requests.at(-1)!.answer(503, { 'Retry-After': String(retryAfterMs / 1000) }, '<p>Back soon');
          await pass(waitMs[1] + 1_000);
          // As the option says, no browser waits for less.
          const want = (maxBackoffMs ?? Infinity) < table.rule.leastMs ? table.rule.leastMs : waitMs[roll]!;
          assert.equal(Math.floor((end.attempts()[n] ?? Infinity) - from), want);
          assert.equal(end.attempts().length, n + 1);
        }
        end.close();
      }
    });
  }

  // Health counts however it ends.
  for (const [name, end] of Object.entries<(page: FakePage, end: End) => Promise<unknown>>({
    'the page is left, and comes back': async (page) => {
      page.fire('pagehide');
      await pass(60_000);
      page.fire('pageshow');
    },
    'nothing comes for a while, and then a network': async (page) => {
      await pass(35_000);
      page.fire('online');
    },
    'a token is renewed': async (_, end) => {
      for (const from = clock.now; clock.now < from + 41_000; await pass(1_000)) await end.beat();
    },
  }))
    test(`${kind}: ten seconds of health clear it where ${name}`, async () => {
      const page = begin();
      dice(1);
      const there = await open({ getToken: () => 'T' + clock.now });
      for (let n = 1; n < 7; n++) {
        await there.cut();
        while (there.attempts().length === n) await pass(100);
      }
      await there.greet({ expiresIn: 60_000 });
      await pass(10_000);
      await end(page, there);
      await settle();
      const n = there.attempts().length;
      const from = clock.now;
      await there.cut();
      await pass(20_000);
      assert.equal(there.attempts()[n]! - from, 1_000);
      there.close();
    });

  for (const { name, deniedMs, lostMs = [], nextMs } of table.credentials) {
    test(`${kind}, credentials: ${name}`, async () => {
      for (const roll of [0, 1]) {
        begin();
        dice(roll);
        const end = await open();
        const errors: unknown[] = [];
        end.client.onError((error) => void errors.push((error as { code?: string }).code));
        const from = clock.now;
        for (const at of [...deniedMs, ...lostMs].sort((a, b) => a - b)) {
          await pass(from + at - clock.now);
          assert.equal(end.client.state, 'connecting');
          await (lostMs.includes(at) ? end.cut() : end.deny());
        }
        const n = end.attempts().length;
        await pass(60_000);
        assert.deepEqual(errors, nextMs ? [] : ['unauthorized']);
        assert.equal(end.client.state, nextMs ? 'connecting' : 'closed');
        assert.equal(end.attempts()[n] && end.attempts()[n]! - from, nextMs?.[roll]);
        end.close();
      }
    });
  }
}
