import { useEffect, useRef, type FormEvent, type ReactNode } from 'react';
import type { Person } from './types';

const key = 'board.me';

/** Who used this browser last. */
export function remembered(): Person | undefined {
  try {
    const { id, name } = JSON.parse(localStorage.getItem(key) ?? '{}') as Partial<Person>;
    return id && name ? { id, name } : undefined;
  } catch {
    return undefined; // not written by this page
  }
}

export function remember(person: Person): void {
  localStorage.setItem(key, JSON.stringify(person));
}

function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

interface WelcomeProps {
  me: Person | undefined;
  onName: (me: Person) => void;
  onClose: () => void;
}

/** Asks for a name. */
export function Welcome({ me, onName, onClose }: WelcomeProps): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const name = String(new FormData(event.currentTarget).get('name')).trim();
    onName({ id: me?.id ?? newId(), name: name || 'Anonymous' });
  };
  return (
    // Without a name one cannot get past it.
    <dialog id="welcome" ref={dialog} aria-labelledby="welcome-title" onCancel={(event) => (me ? onClose() : event.preventDefault())}>
      <form className="sheet" onSubmit={submit}>
        <h2 id="welcome-title">Who are you?</h2>
        <p>The team sees this name. It stays in this browser.</p>
        <label htmlFor="name">Name</label>
        <input id="name" name="name" type="text" maxLength={40} autoComplete="nickname" defaultValue={me?.name} required autoFocus />
        <button id="enter" className="primary">Go to the board</button>
      </form>
    </dialog>
  );
}
