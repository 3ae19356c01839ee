import type { StreamEvent } from '../sse.js';
import type { OpenStream, StreamEnd } from '../transport.js';
import { createMembers, type Said } from './member.js';
import { createRing, type Ring } from './ring.js';

const lag = 500;
const moment = 100;

/** Where a tab wants to go on: behind the id `since`, or behind what there was at the time `at`. */
interface Want {
  since: string | undefined;
  at: number | undefined;
}

interface StreamSaid extends Said<Want> {
  /** The leader's answer: what to begin with, and the cursor before it. */
  cursor?: string;
  events?: StreamEvent[];
  /** What the leader hears. */
  event?: StreamEvent;
  /** The leader's stream has ended. */
  end?: true;
}

/**
 * Has the tabs share one stream: the one that leads reads it, the others hear from it. A tab joins only after the server
 * has greeted it on a stream of its own as the same user, with the same domains. Where the leader cannot tell what follows a
 * tab's cursor, the tab keeps its own stream for a while.
 */
export function shareStream(open: OpenStream, group: string): OpenStream {
  const join = createMembers<Want, StreamSaid>();
  let hello: Record<string, unknown> | undefined; // what the server has said to this tab

  return (call) =>
    new Promise((resolve, reject) => {
      const own = new AbortController(); // of the own stream
      const { signal } = own;
      let ring: Ring<{ event: StreamEvent; at: number }> | undefined; // of the leader: all that has come, the hello first
      let early: StreamEvent[] | undefined = []; // until it is decided whom they are for
      let begin = 'ren.hello'; // what says to the client where it is
      let want: Want = { since: call.headers['Last-Event-ID'], at: call.at };

      const finish = (end: StreamEnd, known = true): void => {
        member.leave(known);
        own.abort();
        resolve(end);
      };
      const flush = (): void => {
        const events = early!;
        early = undefined;
        events.forEach(pass);
      };
      const pass = (event: StreamEvent): void => {
        const name = event.event;
        if (early) return void early.push(event);
        if (ring) {
          ring.push({ event, at: Date.now() }, event.data.length);
          member.say({ from: member.id, event });
        }
        call.take(event);
        if (ring) return;
        // Alone. What comes says where to follow, if the leader knows it by then.
        if (name === 'message') {
          want = { since: event.id, at: undefined };
          member.forget();
        } else {
          // By a ping all has come that was on its way when the one before it came, or the hello.
          if (name === 'ren.ping') member.retry();
          want = { ...want, at: Date.now() };
        }
        begin = 'ren.ping';
      };

      /** Answers a tab that asks; false where the leader cannot tell what it has missed, which is said if it is `final`. */
      const answer = ({ id, since, at }: Want & { id: string }, final = false): boolean => {
        if (!ring || signal.aborted) return true;
        const { entries } = ring;
        let i = entries.length - 1;
        while (i >= 0 && entries[i]!.event.id !== since) i--;
        if (i < 0 && at !== undefined && entries[0]!.at <= at)
          for (i = 0; i + 1 < entries.length && entries[i + 1]!.at < at; ) i++;
        const to = { to: id, from: member.id };
        const events = entries.slice(i + 1).map(({ event }) => event);
        if (i >= 0) member.say({ ...to, cursor: entries[i]!.event.id, events });
        else if (final) member.say({ ...to, no: true });
        return i >= 0;
      };

      const member = join({
        ask: () => want,
        async dial() {
          const at = Date.now();
          let end: StreamEnd;
          let failed: unknown;
          try {
            end = await open({
              ...call, signal,
              take(event) {
                pass(event);
                if (event.event !== 'ren.hello') return;
                hello = JSON.parse(event.data) as Record<string, unknown>;
                if (hello['state'] !== 'resumed') want = { since: event.id, at };
                void member.greeted(['ren', call.url, group, hello['userId'], hello['domains']].join(' '));
              },
            });
          } catch (e) {
            failed = e;
          }
          // A page that is left loses its streams a moment before it is told; then another tab goes on without a wait.
          if (ring) await new Promise((done) => setTimeout(done, moment));
          if (signal.aborted) return;
          if (ring) member.say({ from: member.id, end: true });
          if (failed) reject(failed);
          finish(end);
        },
        lead() {
          ring = createRing();
          flush();
          member.say({ lead: member.id });
        },
        serve(ask) {
          // The tab may have heard of more than has come here yet.
          if (!answer(ask)) setTimeout(() => answer(ask, true), lag);
        },
        follow({ cursor, events }) {
          own.abort();
          call.take({ event: begin, id: cursor!, data: JSON.stringify(hello), retry: undefined });
          hello!['state'] = 'resumed';
          events!.forEach(call.take);
        },
        alone: flush,
        hear({ event, end }) {
          call.heard();
          if (event) call.take(event);
          if (end) finish(undefined);
        },
        again: () => finish('again'),
      });
      call.signal.addEventListener('abort', () => finish(undefined, false));
      member.begin();
    });
}
