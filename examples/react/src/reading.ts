import { useEffect, useRef, useState } from 'react';

/** What a read gave. */
export interface Reading<T> {
  value: T | undefined;
  /** Why the last read failed; `value` is then of an earlier one. */
  error: Error | undefined;
  /** How often it was read. */
  reads: number;
}

/**
 * Reads at once, and again when `version` changes. While it reads, it reads once more instead: so what is shown in the end
 * was read after the last change, and many changes in a moment are no storm of requests.
 */
export function useReading<T>(read: () => Promise<T>, version: number): Reading<T> {
  const [now, setNow] = useState<Reading<T> & { of: number }>({ value: undefined, error: undefined, reads: 0, of: -1 });
  const busy = useRef(false);
  // After each render, as one of them follows each read.
  useEffect(() => {
    if (busy.current || now.of === version) return;
    busy.current = true;
    const done = (value: T | undefined, error?: Error): void => {
      busy.current = false;
      setNow((before) => ({ value: error ? before.value : value, error, reads: before.reads + 1, of: version }));
    };
    read().then(done, (error: Error) => done(undefined, error));
  });
  return now;
}
