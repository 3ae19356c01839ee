import { useChannel } from '@maravilla-realtime/client/react';
import { useLayoutEffect, useRef, type FormEvent, type ReactNode, type UIEvent } from 'react';
import { Avatar } from './avatar';
import { rt } from './clients';
import { useTell } from './notes';
import type { Channels, Person, Sign } from './types';

type Message = Channels['talk:{name}'];

const signs: readonly { sign: Sign; name: string }[] = [
  { sign: '♥', name: 'a heart' }, { sign: '★', name: 'a star' }, { sign: '☺', name: 'a smile' },
];

/** What is said while one listens. */
export function Talk({ me }: { me: Person | undefined }): ReactNode {
  const { messages, resets, publish } = useChannel(rt, 'talk:launch');
  const tell = useTell();
  const send = (message: Message): void => {
    publish(message).catch(({ message: why }: Error) => tell('Not sent: ' + why));
  };
  const say = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const text = String(new FormData(event.currentTarget).get('text')).trim();
    if (!text || !me) return;
    event.currentTarget.reset();
    send({ type: 'say', by: me, text });
  };
  // The list stays at its end unless its reader has scrolled away from there.
  const list = useRef<HTMLOListElement>(null);
  const atEnd = useRef(true);
  const scrolled = ({ currentTarget: { scrollHeight, scrollTop, clientHeight } }: UIEvent<HTMLElement>): void => {
    atEnd.current = scrollHeight - scrollTop - clientHeight < 40;
  };
  useLayoutEffect(() => {
    if (atEnd.current) list.current?.scrollTo({ top: list.current.scrollHeight });
  }, [messages]);
  return (
    <aside id="talk" className="panel column" aria-labelledby="talk-title">
      <header>
        <h2 id="talk-title">Talk</h2>
        {resets > 0 && <p className="soft">Something was missed</p>}
      </header>
      <ol id="messages" className="scroll" ref={list} onScroll={scrolled} tabIndex={0} role="log" aria-label="Messages">
        {messages.map(({ data, id, from, ts = 0 }, at) => (
          <Line key={id ?? at} message={data} own={from === rt.getClientId()} ts={ts} />
        ))}
      </ol>
      <form id="composer" onSubmit={say}>
        <div className="signs" role="group" aria-label="Send a sign">
          {signs.map(({ sign, name }) => (
            <button key={sign} type="button" disabled={!me} aria-label={`Send ${name}`} onClick={() => me && send({ type: 'cheer', by: me, sign })}>
              {sign}
            </button>
          ))}
        </div>
        <div className="write">
          <label htmlFor="text" className="hidden">Message</label>
          <input id="text" name="text" type="text" maxLength={500} autoComplete="off" placeholder="Say something" required />
          <button className="primary" disabled={!me}>Send</button>
        </div>
      </form>
    </aside>
  );
}

function Line({ message, own, ts }: { message: Message; own: boolean; ts: number }): ReactNode {
  const when = new Date(ts);
  return (
    <li className={'message ' + message.type} data-own={own}>
      <Avatar of={message.by} />
      <p className="by">
        <b>{message.by.name}</b>
        {own && <span className="badge">you</span>}
        <time dateTime={when.toISOString()}>{when.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })}</time>
      </p>
      <p className="text">{message.type === 'say' ? message.text : message.sign}</p>
    </li>
  );
}
