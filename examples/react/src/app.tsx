import { useConnectionStatus } from '@maravilla-realtime/client/react';
import { useState, type ReactNode } from 'react';
import { Cards } from './cards';
import { rt, ren } from './clients';
import { remember, remembered, Welcome } from './me';
import { Notes } from './notes';
import { People } from './people';
import { Talk } from './talk';
import type { Person } from './types';

export function App(): ReactNode {
  const [me, setMe] = useState<Person | undefined>(remembered);
  const [asking, setAsking] = useState(!me);
  const [talking, setTalking] = useState(true);
  const name = (person: Person): void => {
    remember(person);
    setMe(person);
    setAsking(false);
  };
  return (
    <Notes>
      <header className="top">
        <h1>
          <img src="/shared/icon.svg" alt="" width="28" height="28" /> Maravilla board
        </h1>
        <ul className="states" aria-label="Connections" aria-live="polite">
          <Status id="ws-state" of={rt}>WebSocket</Status>
          <Status id="ren-state" of={ren}>REN stream</Status>
        </ul>
        <button id="talk-toggle" type="button" aria-controls="talk" aria-expanded={talking} onClick={() => setTalking(!talking)}>
          Talk
        </button>
        <button id="me" type="button" onClick={() => setAsking(true)}>
          {me?.name ?? 'Join'}
        </button>
      </header>
      <main>
        <People key={me?.id} me={me} />
        <Cards me={me} />
        {talking && <Talk me={me} />}
      </main>
      {asking && <Welcome me={me} onName={name} onClose={() => setAsking(!me)} />}
    </Notes>
  );
}

/** Whether a client is connected. */
function Status({ id, of, children }: { id: string; of: typeof rt | typeof ren; children: ReactNode }): ReactNode {
  const state = useConnectionStatus(of);
  return (
    <li id={id} data-state={state}>
      {children} <span>{state}</span>
    </li>
  );
}
