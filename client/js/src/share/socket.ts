import { parse } from '../errors.js';
import type { Frame } from '../rooms.js';
import { again, type OpenSocket, type WebSocketLike } from '../transport.js';
import { createHub, type Hub, type Line } from './hub.js';
import { createSeat, lock, type Message, type Place } from './place.js';

interface Said extends Message {
  /** A tab asks to follow. */
  ask?: { id: string; cid: string };
  /** A tab's operation. */
  op?: { id: string; text: string };
  /** What the server says, by the leader. */
  lines?: Line[];
  /** The connection has been closed, with this code. */
  end?: number;
  /** The tab has to have a connection of its own. */
  alone?: true;
}

const patience = 5_000; // with a leader that does not answer

/**
 * Has the tabs share one WebSocket: the one that leads has it, and speaks for the others. A tab joins only after the server
 * has greeted it on a connection of its own as the same user.
 */
export function shareSocket(open: OpenSocket, group: string): OpenSocket {
  const take = createSeat<Said>();
  let known: { name: string; hello: string } | undefined; // what the server has said to this tab
  let alone = false;

  return (url) => {
    if (alone) {
      alone = false;
      return open(url);
    }
    let real: WebSocketLike | undefined;
    let place: Place<Said> | undefined;
    let hub: Hub | undefined;
    let leader: string | undefined;
    let cid: string | undefined;
    let over = false;
    let answered: ((yes?: boolean) => void) | undefined;
    let alive: { release(): void } | undefined; // a lock that says to the leader that this tab lives
    const gone = new AbortController(); // no longer waits for the ends of the tabs

    const cleanUp = (): void => {
      over = true;
      gone.abort();
      hub?.close();
      place?.leave();
      alive?.release();
      if (real) real.onclose = null;
      real?.close(1000);
    };
    const end = (code: number): void => {
      if (over) return;
      cleanUp();
      (self.onclose as ((event: { code: number }) => unknown) | null)?.({ code });
    };
    const handOver = (): void => end(again);
    const give = (data: string): void => void (self.onmessage as ((event: { data: string }) => unknown) | null)?.({ data });
    const hearLines = (lines: Line[]): void => {
      const mine = lines.filter(([to]) => (to ?? place!.id) === place!.id).map(([, text]) => text);
      if (mine.length) give(mine.join('\n'));
    };

    const ask = (): void => {
      if (cid) place!.say({ ask: { id: place!.id, cid } });
    };
    const wait = async (ms?: number): Promise<boolean> => {
      alive ??= await lock(place!.name + ' ' + place!.id, {});
      if (over) {
        alive?.release();
        return false;
      }
      const yes = await new Promise<boolean | undefined>((done) => {
        answered = done;
        ask();
        if (ms) setTimeout(done, ms);
      });
      answered = undefined;
      return !over && !!yes;
    };
    const welcome = async ({ id, cid: theirs }: { id: string; cid: string }): Promise<void> => {
      hub!.add(id, theirs);
      place!.say({ to: id, from: place!.id });
      await lock(place!.name + ' ' + id, { signal: gone.signal }).then((free) => free?.release());
      hub?.drop(id);
    };
    const hear = (said: Said): void => {
      if (over) return;
      if (said.lead) {
        if (leader || place?.heir) handOver();
        else if (answered) ask();
      } else if (said.ask) {
        if (hub) void welcome(said.ask);
      } else if (said.op) hub?.op(said.op.id, said.op.text);
      else if (said.to && answered) {
        leader = said.from;
        answered(true);
      } else if (said.from === leader) {
        if (said.lines) hearLines(said.lines);
        else if (said.alone) {
          alone = true;
          handOver();
        } else if (said.end) end(said.end);
      }
    };

    const lead = (hello: string): void => {
      const id = place!.id;
      hub = createHub(
        (JSON.parse(hello) as Frame).limits ?? {},
        (text) => real!.send(text),
        (lines) => {
          place!.say({ from: id, lines });
          hearLines(lines);
        },
        (tab) => {
          if (tab !== id) return place!.say({ to: tab, from: id, alone: true });
          alone = true;
          queueMicrotask(handOver);
        },
      );
      hub.add(id, cid!);
      place!.say({ lead: id });
      give(hello);
    };
    const greeted = async (hello: string): Promise<void> => {
      const name = ['ws', url, group, (JSON.parse(hello) as Frame).userId].join(' ');
      known = { name, hello };
      if (place?.name !== name) {
        place?.leave();
        place = undefined;
        const next = await take(name, hear, handOver);
        if (over) return next.leave();
        place = next;
      }
      if (place.lead) return lead(hello);
      if (await wait(patience)) {
        real!.onclose = null;
        real!.close(1000);
        real = undefined;
        return give(hello);
      }
      if (over) return;
      await place.steal();
      if (over) place.leave();
      else lead(hello);
    };
    const dial = (): void => {
      real = open(url);
      real.onopen = () => (self.onopen as (() => unknown) | null)?.();
      real.onmessage = ({ data }: { data: unknown }) => {
        const text = String(data);
        if (hub) hub.frame(text);
        else if ((parse(text) as Frame | undefined)?.event === 'hello') void greeted(text);
        else give(text);
      };
      real.onclose = ({ code }: { code: number }) => {
        if (hub) place!.say({ from: place!.id, end: code });
        end(code);
      };
    };
    const begin = async (): Promise<void> => {
      if (!known) return dial();
      const next = await take(known.name, hear, handOver);
      if (over) return next.leave();
      place = next;
      if (place.lead) return dial();
      (self.onopen as (() => unknown) | null)?.(); // and says its client id
      if (await wait()) give(known.hello);
    };

    const self: WebSocketLike = {
      onopen: null,
      onmessage: null,
      onclose: null,
      send(text) {
        if (!cid) {
          cid = (JSON.parse(text) as { cid: string }).cid;
          if (real) real.send(text);
          else if (answered) ask();
        } else if (hub) hub.op(place!.id, text);
        else place!.say({ op: { id: place!.id, text } });
      },
      close() {
        if (over) return;
        known = undefined; // the page may be another user's when it is back
        cleanUp();
      },
    };
    void begin();
    return self;
  };
}
