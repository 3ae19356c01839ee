import { renFetch } from '@maravilla-realtime/client';
import { useConnectionStatus, useRen } from '@maravilla-realtime/client/react';
import { useEffect, useState, type FormEvent, type ReactNode } from 'react';
import { ren } from './clients';
import { useTell } from './notes';
import { useReading, type Reading } from './reading';
import type { Card, Person } from './types';

/** The cards, as the server has them, and how to change them. */
function useCards(): Reading<Card[]> & { write: (method: string, id?: string, body?: Partial<Card>) => Promise<void> } {
  // What others write. One's own writes are read when they are answered; their events add nothing to that.
  const { version } = useRen(ren, ({ r, ns, src }) => r === 'kv' && ns === 'board' && src !== ren.getClientId());
  const [written, setWritten] = useState(0);
  // What was read before the stream was there may be old, and a read that failed has another chance.
  const open = useConnectionStatus(ren) === 'open';
  const [opened, setOpened] = useState(0);
  useEffect(() => {
    if (open) setOpened((n) => n + 1);
  }, [open]);

  const write = async (method: string, id = '', body?: Partial<Card>): Promise<void> => {
    try {
      await ask(method, '/api/cards' + (id && '/' + id), body);
    } finally {
      setWritten((n) => n + 1);
    }
  };
  return { ...useReading(readCards, version + written + opened), write };
}

async function readCards(): Promise<Card[]> {
  return (await ask('GET', '/api/cards')).json() as Promise<Card[]>;
}

/** Asks the server. renFetch says which tab it is, so that the events it causes are known to be its own. */
async function ask(method: string, path: string, body?: Partial<Card>): Promise<Response> {
  const json = body && { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
  const answer = await renFetch(path, { method, ...json });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer;
}

/** A list that is live: all see each change. */
export function Cards({ me }: { me: Person | undefined }): ReactNode {
  const { value: cards, error, reads, write } = useCards();
  const tell = useTell();
  const change = (...what: Parameters<typeof write>): void => {
    write(...what).catch(({ message }: Error) => tell('Not done: ' + message));
  };
  const add = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const text = String(new FormData(event.currentTarget).get('text')).trim();
    if (!text || !me) return;
    event.currentTarget.reset();
    change('POST', '', { text, by: me });
  };
  return (
    <section className="panel column" aria-labelledby="cards-title">
      <header>
        <h2 id="cards-title">To do</h2>
        <Finished />
        <p id="reads" className="soft" role={error && 'alert'}>
          {error ? 'Perhaps not up to date' : `Read ${reads}×, never polled`}
        </p>
      </header>
      <ul id="cards" className="scroll" aria-busy={!cards}>
        {cards?.map((card) => (
          <CardRow key={card.id} card={card} me={me} onChange={change} />
        ))}
      </ul>
      <form id="add" className="write" onSubmit={add}>
        <label htmlFor="new-card" className="hidden">What is to be done</label>
        <input id="new-card" name="text" type="text" maxLength={120} autoComplete="off" placeholder="What is to be done?" required />
        <button className="primary" disabled={!me}>Add</button>
      </form>
    </section>
  );
}

/** The card that somebody else has finished last: an event of the app's own, with data of a type of its own. */
function Finished(): ReactNode {
  const { event } = useRen(ren, ({ t, src }) => t === 'card.done' && src !== ren.getClientId());
  return (
    <p id="finished" className="soft" role="status">
      {event?.t === 'card.done' && event.data && <><b>{event.data.by.name}</b> has finished “{event.data.text}”</>}
    </p>
  );
}

interface CardRowProps {
  card: Card;
  me: Person | undefined;
  onChange: (method: string, id: string, body?: Partial<Card>) => void;
}

function CardRow({ card: { id, text, done, by }, me, onChange }: CardRowProps): ReactNode {
  const mine = by.id === me?.id;
  return (
    <li className={done ? 'done' : ''}>
      <label>
        <input type="checkbox" checked={done} disabled={!me} onChange={() => me && onChange('PATCH', id, { done: !done, by: me })} />
        <span className="what">{text}</span>
      </label>
      <span className={mine ? 'by badge' : 'by badge other'}>{mine ? 'you' : by.name}</span>
      <button type="button" className="plain" aria-label={'Delete: ' + text} disabled={!me} onClick={() => onChange('DELETE', id)}>
        Delete
      </button>
    </li>
  );
}
