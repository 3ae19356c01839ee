/** Called with each value; what it throws is reported and harms nobody else. */
export type Listener<T> = (value: T) => void;
/** Adds a listener, even one that is there already, and returns how to remove it. */
export declare function listen<T>(set: Set<Listener<T>>, cb: Listener<T>): () => void;
/** Calls everyone who listened before the call and still does. */
export declare function tell<T>(set: Set<Listener<T>>, value: T): void;
/** Calls one listener; what it throws goes to the page's error handler. */
export declare function call<T>(cb: Listener<T>, value: T): void;
