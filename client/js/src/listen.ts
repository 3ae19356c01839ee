/** Called with each value; what it throws is reported and harms nobody else. */
export type Listener<T> = (value: T) => void;

/** How to add a listener, even one that is there already; it returns how to remove it. */
export function listen<T>(set: Set<Listener<T>>): (cb: Listener<T>) => () => void {
  return (cb) => {
    const own: Listener<T> = (value) => cb(value);
    set.add(own);
    return () => void set.delete(own);
  };
}

/** Calls everyone who listened before the call and still does; what they throw goes to the page's error handler. */
export function tell<T>(set: Set<Listener<T>>, value: T): void {
  for (const cb of [...set])
    try {
      if (set.has(cb)) cb(value);
    } catch (e) {
      (globalThis.reportError ?? console.error)(e);
    }
}
