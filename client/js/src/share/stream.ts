import type { StreamEvent } from '../sse.js';
import type { Group, OpenStream } from '../transport.js';
import { createMember, type Said } from './member.js';
import { groupName } from './place.js';
import { createRing, type Ring } from './ring.js';

/** Where a tab wants to go on: behind the id `since`, or behind what there was at the time `at`. */
interface Want {
  since: string | undefined;
  at?: number | undefined;
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
export function shareStream(open: OpenStream, group: Group): OpenStream {
  const lag = 500; // ms that a leader can have behind a tab that asks
  const moment = 100; // ms between the end of a page's streams and the end of the page

  if (!group) return open;
  return (call) =>
    new Promise((resolve, reject) => {
      let own: AbortController | undefined; // of the own stream
      let early: StreamEvent[] | undefined; // of it, until it is decided whom they are for
      let ring: Ring<{ event: StreamEvent; at: number }> | undefined; // of the leader: all that has come, the hello first
      let hello: Record<string, unknown>;
      let want: Want = { since: call.headers['Last-Event-ID'], at: call.at_ };

      const finish = (): void => {
        member.leave_();
        own?.abort();
        resolve(undefined);
      };
      const flush = (): void => {
        const events = early!;
        early = undefined;
        events.forEach(pass);
      };
      const give = (event: StreamEvent): void => {
        want = { since: event.id };
        call.take_(event);
      };
      const pass = (event: StreamEvent): void => {
        const { since, at } = want;
        if (early) return void early.push(event);
        ring?.push_({ event, at: Date.now() }, event.data.length);
        if (ring) member.announce_({ event }); // first, as the client may hang up at it
        give(event);
        if (ring) return;
        // Alone. What comes says where to follow, if the leader knows it by then.
        if (event.event === 'message') return member.forget_();
        // By a ping all has come that was on its way when the one before it came, or the hello.
        want = { since, at };
        if (event.event === 'ren.ping') member.retry_();
        want = { since, at: Date.now() };
      };
      const dial = async (): Promise<void> => {
        own?.abort();
        ring = undefined;
        early = [];
        const { signal } = (own = new AbortController());
        const at = Date.now();
        let name: string | undefined; // of the group, once greeted
        const headers = { ...call.headers };
        if (want.since) headers['Last-Event-ID'] = want.since;
        try {
          const refused = await open({
            ...call, headers, signal,
            take_(event) {
              if (event.event !== 'ren.hello') return pass(event);
              const said = JSON.parse(event.data) as typeof hello;
              const next = groupName('ren', call.url, group, said['userId'], said['domains']);
              if (name && name !== next) return finish(); // the rights are others now, and so is the group
              // The same rights as before: a greeting is for one tab only.
              if (name) return pass({ ...event, event: said['state'] === 'reset' ? 'ren.reset' : 'ren.ping' });
              pass(event);
              hello = said;
              if (hello['state'] !== 'resumed') want = { since: event.id, at };
              void member.greeted_((name = next));
            },
          });
          if (refused) {
            member.leave_(); // the own request goes on: what it was answered has yet to be read
            return resolve(refused);
          }
        } catch (e) {
          if (!ring && !signal.aborted) reject(e);
        }
        // A page that is left loses its streams a moment before it is told; then another tab goes on without a wait.
        if (ring) await new Promise((done) => setTimeout(done, moment));
        if (signal.aborted) return;
        if (ring) member.announce_({ end: true });
        finish();
      };
      /** Answers a tab that asks; false where this one cannot tell what it has missed, which is said if it is `final`. */
      const answer = ({ id, since, at }: Want & { id: string }, final = false): boolean => {
        if (!ring || own!.signal.aborted) return true;
        const { entries_: entries } = ring;
        let i = entries.length - 1;
        while (i >= 0 && entries[i]!.event.id !== since) i--;
        if (i < 0 && at !== undefined && entries[0]!.at <= at)
          for (i = 0; i + 1 < entries.length && entries[i + 1]!.at < at; ) i++;
        const events = entries.slice(i + 1).map(({ event }) => event);
        if (i >= 0) member.announce_({ to: id, cursor: entries[i]!.event.id, events });
        else if (final) member.announce_({ to: id, no: true });
        return i >= 0;
      };

      const member = createMember<Want, StreamSaid>({
        ask_: () => want,
        dial_: () => void dial(),
        lead_() {
          ring = createRing();
          flush();
        },
        serve_(ask) {
          // The tab may have heard of more than has come here yet.
          if (!answer(ask)) setTimeout(() => answer(ask, true), lag);
        },
        follow_({ cursor, events }) {
          own?.abort();
          early = undefined;
          give({ event: 'ren.hello', id: cursor!, data: JSON.stringify(hello), retry: undefined });
          hello['state'] = 'resumed';
          events!.forEach(give);
        },
        alone_: () => (early ? flush() : void dial()),
        hear_({ event, end }) {
          call.heard_();
          if (event) give(event);
          if (end) finish();
        },
      });
      call.signal.addEventListener('abort', finish);
      void dial();
    });
}
