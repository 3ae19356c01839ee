// testdata/backoff.json, the rule by which all clients come back.
import assert from 'node:assert/strict';
import { afterEach, mock, test } from 'node:test';
import { realtimeEnd, renEnd } from './ends.js';
import { begin, clock, dice, pass, requests } from './fakes.js';
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
  credentials: { name: string; deniedMs: number[]; nextMs: [number, number] | null }[];
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

  for (const { name, deniedMs, nextMs } of table.credentials) {
    test(`${kind}, credentials: ${name}`, async () => {
      for (const roll of [0, 1]) {
        begin();
        dice(roll);
        const end = await open();
        const errors: unknown[] = [];
        end.client.onError((error) => void errors.push((error as { code?: string }).code));
        const from = clock.now;
        for (const at of deniedMs) {
          await pass(from + at - clock.now);
          assert.equal(end.client.state, 'connecting');
          await end.deny();
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
