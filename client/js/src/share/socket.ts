import { parse } from '../errors.js';
import type { ClientOptions } from '../options.js';
import type { Closed, OpenSocket, WebSocketLike } from '../transport.js';
import type { Frame } from '../wire.js';
import { createHub, type Hub, type Line } from './hub.js';
import { createMember, type Said } from './tabGroup.js';
import { groupName, groupOf } from './lock.js';

/** A tab asks to follow; as long as it does, it holds the lock of its id. Or it has an operation for the server. */
interface Ask {
  cid?: string;
  op?: string;
  /** Of a hello, the first one or one that renews the client's credentials. */
  token?: string;
}

interface SocketSaid extends Said<Ask> {
  /** What the server says, by the leader. */
  lines?: Line[];
}

/**
 * Has the tabs share one WebSocket: the one that leads has it, and speaks for the others. A tab joins only after the server
 * has greeted it on a connection of its own as the same user. When another tab takes the lead, the client hears another
 * hello, and begins again as on a new connection.
 */
export function shareSocket(open: OpenSocket, options: ClientOptions): OpenSocket {
  const group = groupOf(options);
  if (!group) return open;
  return (url) => {
    let real: WebSocketLike | undefined;
    let send: (text: string) => unknown; // on it
    let hub: Hub | undefined;
    let hello = ''; // the server's
    let greeting: Ask | undefined; // the client's
    let say: ((text: string) => void) | undefined; // takes what the client says, once it is decided to whom
    let over = false;

    const drop = (): void => {
      real?.close(1000);
      real = hub = say = undefined;
    };
    const close = (): void => {
      over = true;
      member.leave_();
      drop();
    };
    const end = (how: Closed): void => {
      close();
      self.onclose!(how as never);
    };
    const give = (data: string): void => void self.onmessage!({ data } as never);
    const take_ = ({ lines = [] }: SocketSaid): void => {
      for (const [to, text] of lines)
        if ((to ?? id) !== id) continue;
        else if (text === undefined) goAlone();
        else give(text);
    };
    const goAlone = (): void => {
      member.leave_();
      dial();
    };
    const dial = (): void => {
      if (over) return;
      drop();
      let socket: WebSocketLike;
      try {
        socket = real = open(url);
      } catch (e) {
        return end({ code: 1006, error_: e });
      }
      send = (text) => socket === real && socket.send(text); // the hub may speak for those who have gone a while later
      socket.onopen = () => (greeting ? send(JSON.stringify(greeting)) : self.onopen!({} as never));
      socket.onmessage = ({ data }: { data: string }) => {
        if (hub) return hub.take_(data);
        const frame = parse(data) as Frame | undefined;
        const alone = member.signal_.aborted;
        if (alone) say = send;
        if (alone || frame?.event !== 'hello') return give(data);
        if (!member.join_(groupName('ws', url, group, frame.userId))) return end({ code: 1006 }); // another user now
        hello = data;
        member.opened_();
      };
      const closed = ({ code }: Closed): unknown => socket === real && member.end_(code);
      socket.onclose = closed;
      socket.onerror = () => closed({ code: 1006 }); // as in the client
    };

    const member = createMember<Ask, SocketSaid>({
      start_: dial,
      ask_: () => ({ cid: greeting!.cid! }),
      dial_: dial,
      lead_() {
        const tell = (lines: Line[]): void => {
          member.say_({ lines });
          take_({ lines });
        };
        const { limits, userId } = parse(hello) as Frame;
        hub = createHub(limits!, send, tell, userId);
        hub.add_(id, greeting!.cid!);
        say = (text) => hub!.ask_(id, text);
        give(hello);
      },
      answer_(tab, { op, cid }) {
        const own = hub;
        if (!own) return;
        if (op) return own.ask_(tab, op);
        own.add_(tab, cid!);
        navigator.locks.request(tab, { signal: member.signal_ }, () => own.leave_(tab)).catch(() => {});
        member.say_({ to: tab });
      },
      follow_() {
        drop();
        say = (text) => member.say_({ ask: { op: text } });
        give(hello);
      },
      alone_: goAlone,
      take_,
      end_: (code = 1006) => end({ code }),
    });
    const { id } = member;

    const self = {
      send(text) {
        const said = parse(text) as Ask;
        if (!greeting) {
          greeting = said;
          return send(text);
        }
        if (said.op === 'hello') greeting.token = said.token!; // for the next connection
        // Where nobody takes it, the hello that is on its way has the client say all of it again.
        say?.(text);
      },
      close,
    } as WebSocketLike; // which the client completes, with its handlers
    return self;
  };
}
