import type { StreamEvent } from '../sse.js';
import type { OpenStream, StreamEnd } from '../transport.js';
import { createSeat, type Message, type Place } from './place.js';
import { createRing, type Ring } from './ring.js';

/** Where a tab wants to go on: behind the id `since`, or behind what there was at the time `at`. */
interface Want {
  since: string | undefined;
  at: number | undefined;
}

interface Said extends Message {
  /** A tab asks to follow. */
  ask?: { id: string; want: Want };
  /** The leader's answer: what to begin with, and the cursor before it; no cursor where it does not know what follows `want`. */
  cursor?: string | undefined;
  events?: StreamEvent[];
  /** What the leader hears. */
  event?: StreamEvent;
  /** The leader's stream has ended. */
  end?: true;
}

/** What the server has said to this tab, and so with whom it may share. */
interface Known {
  name: string;
  hello: Record<string, unknown>;
}

const patience = 5_000; // with a leader that does not answer

/**
 * Has the tabs share one stream: the one that leads reads it, the others hear from it. A tab joins only after the server
 * has greeted it on a stream of its own as the same user, with the same domains. Where the leader cannot tell what follows a
 * tab's cursor, the tab keeps its own stream for a while.
 */
export function shareStream(open: OpenStream, group: string): OpenStream {
  const take = createSeat<Said>();
  let known: Known | undefined;

  return (call) =>
    new Promise((resolve, reject) => {
      const from = call.headers['Last-Event-ID'];
      const own = new AbortController(); // of the own stream
      let place: Place<Said> | undefined;
      let over = false;
      let leader: string | undefined; // who is listened to
      let ring: Ring<{ event: StreamEvent; at: number }> | undefined; // of the leader: all that has come, the hello first
      let early: StreamEvent[] | undefined = []; // until it is decided whom they are for
      let answered: ((answer?: Said) => void) | undefined;
      let want: Want = { since: from, at: call.at };

      const finish = (end?: StreamEnd): void => {
        over = true;
        own.abort();
        place?.leave();
        resolve(end);
      };
      const again = (): void => finish('again');
      call.signal.addEventListener('abort', () => {
        if (!over) known = undefined; // the page may be another user's when it is back
        finish();
      });

      const ask = (ms?: number): Promise<Said | undefined> =>
        new Promise((done) => {
          answered = done;
          place!.say({ ask: { id: place!.id, want } });
          if (ms) setTimeout(done, ms);
        });
      const follow = (answer: Said | undefined, event: string): boolean => {
        answered = undefined;
        if (over || !answer?.cursor) return false;
        leader = answer.from;
        own.abort();
        call.take({ event, id: answer.cursor, data: JSON.stringify(known!.hello), retry: undefined });
        answer.events!.forEach(call.take);
        return true;
      };
      const answer = ({ id, want: { since, at } }: { id: string; want: Want }): void => {
        const { entries } = ring!;
        let i = entries.length - 1;
        while (i >= 0 && entries[i]!.event.id !== since) i--;
        if (i < 0 && at !== undefined && entries[0]!.at <= at) {
          i = 0;
          while (i + 1 < entries.length && entries[i + 1]!.at < at) i++;
        }
        place!.say({ to: id, from: place!.id, cursor: entries[i]?.event.id, events: entries.slice(i + 1).map(({ event }) => event) });
      };
      const hear = (said: Said): void => {
        if (over) return;
        if (said.lead) {
          if (leader || place?.heir) again();
          else if (answered) place!.say({ ask: { id: place!.id, want } });
        } else if (said.ask) {
          if (ring) answer(said.ask);
        } else if (said.to) answered?.(said);
        else if (said.from === leader) {
          call.heard();
          if (said.end) finish();
          else call.take(said.event!);
        }
      };

      const lead = (): void => {
        ring = createRing();
        flush();
        place!.say({ lead: place!.id });
      };
      const flush = (): void => {
        const events = early!;
        early = undefined;
        events.forEach(pass);
      };
      const pass = (event: StreamEvent): void => {
        if (early) return void early.push(event);
        if (ring) {
          ring.push({ event, at: Date.now() }, event.data.length);
          place!.say({ from: place!.id, event });
        }
        call.take(event);
        if (ring) return;
        // alone: what comes says where to follow, if the leader knows it by then
        if (event.event === 'message') {
          want = { since: event.id, at: undefined };
          answered?.();
        } else {
          // By a ping all has come that was on its way when the one before it came, or the hello.
          if (event.event === 'ren.ping') void ask().then((said) => follow(said, 'ren.ping'));
          want = { ...want, at: Date.now() };
        }
      };
      const greeted = async (event: StreamEvent, began: number): Promise<void> => {
        const hello = JSON.parse(event.data) as Record<string, unknown>;
        const name = ['ren', call.url, group, hello['userId'], hello['domains']].join(' ');
        known = { name, hello };
        if (hello['state'] !== 'resumed') want = { since: event.id, at: began };
        if (place?.name !== name) {
          place?.leave();
          place = undefined;
          const next = await take(name, hear, again);
          if (over) return next.leave();
          place = next;
        }
        if (place.lead) return lead();
        const said = await ask(patience);
        if (over || follow(said, event.event)) return;
        if (said) return flush();
        await place.steal();
        if (over) place.leave();
        else lead();
      };
      const direct = async (): Promise<void> => {
        const began = Date.now();
        let end: StreamEnd;
        try {
          end = await open({
            ...call, signal: own.signal,
            take(event) {
              if (event.event === 'ren.hello') void greeted(event, began);
              pass(event);
            },
          });
        } catch (e) {
          if (!own.signal.aborted) reject(e);
        }
        if (own.signal.aborted) return;
        if (ring) place!.say({ from: place!.id, end: true });
        finish(end);
      };
      const begin = async (): Promise<void> => {
        if (!known) return direct();
        const next = await take(known.name, hear, again);
        if (over) return next.leave();
        place = next;
        known.hello['state'] = 'resumed';
        if (place.lead || !follow(await ask(), 'ren.hello')) void (over || direct());
      };
      void begin();
    });
}
