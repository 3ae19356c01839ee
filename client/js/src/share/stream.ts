import type { ClientOptions } from '../options.js';
import type { StreamEvent } from '../sse.js';
import type { OpenStream } from '../transport.js';
import { createMember, type Said } from './tabGroup.js';
import { groupName, groupOf } from './lock.js';
import { createRing, type Ring } from './ring.js';

/** Where a tab wants to go on: after the id `since`, or after what there was at the time `at`. */
interface Want {
  since: string | undefined;
  at: number | undefined;
}

interface StreamSaid extends Said<Want> {
  /** The leader's answer: the event to go on after, and those that follow it. */
  events?: StreamEvent[];
  /** What the leader hears. */
  event?: StreamEvent;
}

/**
 * Has the tabs share one stream: the one that leads reads it, the others hear from it. A tab joins only after the server
 * has greeted it on a stream of its own as the same user, with the same domains. Where the leader cannot tell what follows a
 * tab's cursor, the tab keeps its own stream for a while.
 */
export function shareStream(open: OpenStream, options: ClientOptions): OpenStream {
  const lag = 500; // ms by which a leader can lag, compared with a tab that asks
  const most = 1_000; // events to put off until it is decided whom they are for
  const moment = 100; // ms between the end of a page's streams and the end of the page

  const group = groupOf(options);
  if (!group) return open;
  return (url, headers, wanted, take, heard, noted) =>
    new Promise((resolve, reject) => {
      let own = new AbortController(); // of the own stream
      let early: StreamEvent[] | undefined; // of it, until it is decided whom they are for
      let ring: Ring<StreamEvent & { at: number }> | undefined; // of the leader: all that has come, the hello first
      let hello: string; // what it is once more, to a tab that has had it
      let since: Want['since'] = headers['Last-Event-ID'];
      let at = noted;

      const finish = (): void => {
        member.leave_();
        own.abort();
        resolve(undefined);
      };
      const flush = (): void => {
        const events = early!;
        early = undefined;
        events.forEach(pass);
      };
      const give = (event: StreamEvent): void => {
        since = event.id;
        at = undefined;
        take(event);
      };
      const pass = (event: StreamEvent): void => {
        if (early) return void (early.push(event) > most && member.alone_());
        if (ring) {
          ring.add_({ ...event, at: Date.now() }, event.data.length);
          member.say_({ event }); // first, as the client may hang up at it
        } else if (event.event === 'message') member.forget_();
        else {
          // Alone. What comes says where to follow, if the leader knows it by then: by a ping all has come that was on its way
          // when the one before it came, or the hello.
          if (event.event === 'ren.ping') member.ask_();
          at = Date.now();
          return take(event);
        }
        give(event);
      };
      const dial = async (): Promise<void> => {
        own.abort();
        early = ring = undefined;
        const { signal } = (own = new AbortController());
        const asked = Date.now();
        let greeted = false;
        try {
          const hear = (event: StreamEvent): void => {
            if (event.event !== 'ren.hello') return pass(event);
            const said = JSON.parse(event.data) as Record<string, unknown>;
            // Where the rights are others now, so is the group.
            if (!member.join_(groupName('ren', url, group, said['userId'], said['domains']))) return finish();
            // The same rights as before: a greeting is for one tab only.
            if (greeted) return pass({ ...event, event: said['state'] === 'reset' ? 'ren.reset' : 'ren.ping' });
            greeted = true;
            early = [event];
            hello = JSON.stringify({ ...said, state: 'resumed' });
            if (said['state'] !== 'resumed') {
              since = event.id;
              at = asked;
            }
            member.opened_();
          };
          const refused = await open(url, { ...headers, ...(since && { 'Last-Event-ID': since }) }, signal, hear, heard, undefined);
          if (refused) {
            member.leave_(); // the own request goes on: what it was answered has yet to be read
            return resolve(refused);
          }
        } catch (e) {
          if (!ring && !signal.aborted) reject(e);
        }
        // A page that is left loses its streams a moment before it is told; then another tab goes on without a wait.
        if (ring) await new Promise((done) => setTimeout(done, moment));
        if (!signal.aborted) member.end_(1);
      };
      /** Answers a tab that asks; after a while, as it may have heard of more than has come here yet, it is `final`. */
      const answer = (to: string, want: Want, final?: boolean): void => {
        if (!ring) return;
        const { entries_: entries } = ring;
        let i = entries.map(({ id }) => id).lastIndexOf(want.since!);
        if (i < 0 && entries[0]!.at <= want.at!) i = Math.max(entries.filter((entry) => entry.at < want.at!).length - 1, 0);
        if (i >= 0) member.say_({ to, events: entries.slice(i) });
        else if (final) member.say_({ to, no: true });
        else setTimeout(() => answer(to, want, true), lag);
      };

      const member = createMember<Want, StreamSaid>({
        ask_: () => ({ since, at }),
        dial_: dial,
        lead_() {
          ring = createRing();
          flush();
        },
        answer_: answer,
        follow_({ events: [first, ...events] = [] }) {
          const data = early?.[0]!.data ?? hello;
          own.abort();
          early = undefined;
          give({ ...first!, event: 'ren.hello', data });
          for (const event of events) if (event.event !== 'ren.ping') give(event); // one of before would count as late
        },
        alone_() {
          if (early) flush();
          else if (own.signal.aborted) void dial();
        },
        take_({ event }) {
          heard();
          if (event) give(event);
        },
        end_: finish,
      });
      wanted.addEventListener('abort', finish);
      void dial();
    });
}
