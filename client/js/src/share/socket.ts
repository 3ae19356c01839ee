import { parse } from '../errors.js';
import { random } from '../id.js';
import type { Frame } from '../rooms.js';
import { again, type OpenSocket, type WebSocketLike } from '../transport.js';
import { createHub, type Hub, type Line } from './hub.js';
import { createMembers, type Said } from './member.js';
import { lock } from './place.js';

/** A tab that follows; as long as it lives, it holds the lock. */
interface Tab {
  cid: string;
  lock: string;
}

interface SocketSaid extends Said<Tab> {
  /** A tab's operation. */
  op?: { id: string; text: string };
  /** What the server says, by the leader. */
  lines?: Line[];
  /** The connection has been closed, with this code. */
  end?: number;
}

/**
 * Has the tabs share one WebSocket: the one that leads has it, and speaks for the others. A tab joins only after the server
 * has greeted it on a connection of its own as the same user.
 */
export function shareSocket(open: OpenSocket, group: string): OpenSocket {
  const join = createMembers<Tab, SocketSaid>();
  let hello = ''; // what the server has said to this tab
  let cid = '';
  let alone = false;

  return (url) => {
    if (alone) {
      alone = false;
      return open(url);
    }
    const gone = new AbortController(); // ends the waiting for the ends of tabs
    const name = 'tab ' + random();
    let real: WebSocketLike | undefined;
    let hub: Hub | undefined;
    let over = false;

    const hangUp = (): void => {
      if (real) real.onclose = null;
      real?.close(1000);
      real = undefined;
    };
    const cleanUp = (known: boolean): void => {
      over = true;
      member.leave(known);
      gone.abort();
      alive.then((own) => own?.release());
      hub?.close();
      hangUp();
    };
    const end = (code: number): void => {
      if (over) return;
      cleanUp(true);
      self.onclose?.({ code } as never);
    };
    const give = (data: string): void => void self.onmessage?.({ data } as never);
    const hearLines = (lines: Line[]): void => {
      const mine = lines.filter(([to]) => (to ?? member.id) === member.id).map(([, text]) => text);
      if (mine.length) give(mine.join('\n'));
    };
    const goAlone = (): void => {
      alone = true;
      end(again);
    };
    const alive = lock(name, {});

    const member = join({
      ask: () => (cid ? { cid, lock: name } : undefined),
      dial() {
        const socket = (real = open(url));
        socket.onopen = () => self.onopen?.({} as never);
        socket.onmessage = ({ data }: { data: unknown }) => {
          const text = String(data);
          const frame = parse(text) as Frame | undefined;
          if (hub) hub.frame(text);
          else if (frame?.event === 'hello') {
            hello = text;
            void member.greeted(['ws', url, group, frame.userId].join(' '));
          } else give(text);
        };
        socket.onclose = ({ code }: { code: number }) => {
          if (hub) member.say({ from: member.id, end: code });
          end(code);
        };
      },
      lead() {
        const { id } = member;
        const tell = (lines: Line[]): void => {
          member.say({ from: id, lines });
          hearLines(lines);
        };
        const refuse = (tab: string): void => {
          if (tab === id) queueMicrotask(goAlone);
          else member.say({ to: tab, from: id, no: true });
        };
        hub = createHub((parse(hello) as Frame).limits, (text) => real!.send(text), tell, refuse);
        hub.add(id, cid);
        member.say({ lead: id });
        give(hello);
      },
      serve({ id, cid: theirs, lock: held }) {
        if (!hub) return;
        if (hub.add(id, theirs))
          void lock(held, { signal: gone.signal }).then((free) => {
            free!.release();
            hub!.drop(id);
          });
        member.say({ to: id, from: member.id });
      },
      follow() {
        if (real) hangUp();
        give(hello);
      },
      alone() {}, // a leader says no only later
      hear({ op, lines, no, end: code }) {
        if (op) hub?.op(op.id, op.text);
        else if (lines) hearLines(lines);
        else if (no) goAlone();
        else if (code) end(code);
      },
      again: () => end(again),
    });

    const self: WebSocketLike = {
      onopen: null,
      onmessage: null,
      onclose: null,
      send(text) {
        if (hub) hub.op(member.id, text);
        else if (cid && !real) member.say({ op: { id: member.id, text } });
        else {
          cid = (parse(text) as { cid: string }).cid;
          real?.send(text);
        }
      },
      close() {
        if (!over) cleanUp(false);
      },
    };
    void alive.then(() => over || member.begin());
    return self;
  };
}
