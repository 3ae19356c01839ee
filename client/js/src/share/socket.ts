import { parse } from '../errors.js';
import { random } from '../id.js';
import type { Frame } from '../wire.js';
import type { Group, OpenSocket, WebSocketLike } from '../transport.js';
import { createHub, type Hub, type Line } from './hub.js';
import { createMember, type Said } from './member.js';
import { groupName, lock } from './place.js';

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
 * has greeted it on a connection of its own as the same user. When another tab takes the lead, the client hears another
 * hello, and begins anew as on a new connection.
 */
export function shareSocket(open: OpenSocket, group: Group): OpenSocket {
  if (!group) return open;
  return (url) => {
    const gone = new AbortController(); // ends the waiting for the ends of tabs
    const name = 'tab ' + random();
    const alive = lock(name, {});
    let real: WebSocketLike | undefined;
    let hub: Hub | undefined;
    let hello = ''; // the server's
    let greeting = ''; // the client's
    let alone = false;
    let ready = false; // the own connection is for this tab alone, and the server has greeted it
    let over = false;

    const drop = (): void => {
      hub?.close();
      if (real) real.onclose = null;
      real?.close(1000);
      real = hub = undefined;
    };
    const close = (): void => {
      over = true;
      member.leave_();
      gone.abort();
      void alive.then((own) => own?.release_());
      drop();
    };
    const end = (code: number): void => {
      if (over) return;
      close();
      self.onclose?.({ code } as never);
    };
    const give = (data: string): void => void self.onmessage?.({ data } as never);
    const hearLines = (lines: Line[]): void => {
      const mine = lines.filter(([to]) => (to ?? member.id) === member.id).map(([, text]) => text);
      if (mine.length) give(mine.join('\n'));
    };
    const goAlone = (): void => {
      alone = true;
      member.leave_();
      dial();
    };
    const dial = (): void => {
      drop();
      ready = false;
      let socket: WebSocketLike;
      try {
        socket = real = open(url);
      } catch {
        return end(1006); // as where there is no network
      }
      socket.onopen = () => (greeting ? socket.send(greeting) : self.onopen?.({} as never));
      socket.onmessage = ({ data }: { data: unknown }) => {
        const text = String(data);
        const frame = parse(text) as Frame | undefined;
        if (hub) hub.frame_(text);
        else if (!alone && frame?.event === 'hello') {
          hello = text;
          void member.greeted_(groupName('ws', url, group, frame.userId));
        } else {
          ready = alone;
          give(text);
        }
      };
      socket.onclose = ({ code }: { code: number }) => {
        if (hub) member.announce_({ end: code });
        end(code);
      };
    };
    const cid = (): string => (parse(greeting) as { cid: string }).cid;

    const member = createMember<Tab, SocketSaid>({
      ask_: () => ({ cid: cid(), lock: name }),
      dial_: dial,
      lead_() {
        const { id } = member;
        const tell = (lines: Line[]): void => {
          member.announce_({ lines });
          hearLines(lines);
        };
        const refuse = (tab: string): void => {
          if (tab === id) queueMicrotask(goAlone);
          else {
            member.announce_({ to: tab, no: true });
            hub?.drop_(tab); // it begins anew elsewhere
          }
        };
        hub = createHub((parse(hello) as Frame).limits!, (text) => real?.send(text), tell, refuse);
        hub.add_(id, cid());
        give(hello);
      },
      serve_({ id, cid: theirs, lock: held }) {
        const own = hub;
        if (!own) return;
        if (own.add_(id, theirs))
          void lock(held, { signal: gone.signal }).then((free) => {
            if (!free) return;
            free.release_();
            own.drop_(id);
          });
        member.announce_({ to: id });
      },
      follow_() {
        drop();
        give(hello);
      },
      alone_: goAlone,
      hear_({ op, lines, no, end: code }) {
        if (op) hub?.op_(op.id, op.text);
        else if (lines) hearLines(lines);
        else if (no) goAlone();
        else if (code) end(code);
      },
    });

    const self: WebSocketLike = {
      onopen: null,
      onmessage: null,
      onclose: null,
      send(text) {
        if (!greeting) real?.send((greeting = text));
        else if (hub) hub.op_(member.id, text);
        else if (ready) real?.send(text);
        // Else the hello that is on its way has the client say all of it again.
        else if (!real) member.say_({ op: { id: member.id, text } });
      },
      close: () => over || close(),
    };
    void alive.then(() => over || dial());
    return self;
  };
}
