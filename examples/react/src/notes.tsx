import { createContext, useCallback, useContext, useState, type ReactNode } from 'react';

const Tell = createContext<(text: string) => void>(() => {});

/** Returns how to tell the reader something in passing. */
export function useTell(): (text: string) => void {
  return useContext(Tell);
}

let last = 0;

/** Shows what is told, the last four notes. */
export function Notes({ children }: { children: ReactNode }): ReactNode {
  const [notes, setNotes] = useState<readonly { id: number; text: string }[]>([]);
  const tell = useCallback((text: string) => {
    const note = { id: ++last, text };
    setNotes((notes) => [...notes, note].slice(-4));
  }, []);
  return (
    <Tell value={tell}>
      {children}
      <div id="notes" role="status">
        {notes.map(({ id, text }) => (
          <p key={id}>
            {text}
            <button type="button" aria-label="Dismiss" onClick={() => setNotes((notes) => notes.filter((note) => note.id !== id))}>
              ×
            </button>
          </p>
        ))}
      </div>
    </Tell>
  );
}
