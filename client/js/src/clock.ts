let date = 0; // what Date.now() was
let lost = 0; // by which it has been set back, in all
let ahead = 0; // of steady() it would be otherwise, at the most

/** Milliseconds by a clock that nobody sets, and that may stand still while the machine sleeps, or in somebody's test. */
export function steady(): number {
  return globalThis.performance?.now?.() ?? Date.now();
}

/**
 * The same by one that goes on while the machine sleeps: when Date.now() gets further ahead, that much has passed. When it is set back, or
 * stands still as in somebody's test and then catches up, nothing has.
 */
export function now(): number {
  lost += Math.max(date - (date = Date.now()), 0);
  ahead = Math.max(ahead, date + lost - steady());
  return steady() + ahead;
}
