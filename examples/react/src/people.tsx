import { usePresence } from '@maravilla-realtime/client/react';
import { useState, type ReactNode } from 'react';
import { Avatar } from './avatar';
import { rt } from './clients';
import type { Person, Profile } from './types';

/** Who is here; and oneself, unless stepped out. */
export function People({ me }: { me: Person | undefined }): ReactNode {
  const [out, setOut] = useState(false);
  const [status, setStatus] = useState<Profile['status']>('free');
  const here = me && !out ? { userId: me.id, metadata: { name: me.name, status } } : undefined;
  const { members, error } = usePresence(rt, 'team:launch', here);
  const people = members
    .map(({ userId, metadata }) => ({ id: userId, name: metadata?.name ?? userId, status: metadata?.status ?? 'free' }))
    .sort((a, b) => a.name.localeCompare(b.name));
  return (
    <section className="panel people" aria-labelledby="people-title">
      <h2 id="people-title">
        Here now <span className="count">{people.length}</span>
      </h2>
      {error && <p className="soft" role="alert">You could not join: {error.message}</p>}
      <ul id="roster" className="scroll">
        {people.map((person) => (
          <li key={person.id} data-user={person.id} data-status={person.status}>
            <Avatar of={person} />
            <span className="name">{person.name}</span>
            {person.status === 'busy' && <span className="badge warm">busy</span>}
            {person.id === me?.id && <span className="badge">you</span>}
          </li>
        ))}
      </ul>
      <div className="self">
        <label>
          <input id="busy" type="checkbox" checked={status === 'busy'} onChange={() => setStatus(status === 'busy' ? 'free' : 'busy')} /> Busy
        </label>
        <button id="step" type="button" onClick={() => setOut(!out)} disabled={!me}>
          {out ? 'Come back' : 'Step out'}
        </button>
      </div>
    </section>
  );
}
