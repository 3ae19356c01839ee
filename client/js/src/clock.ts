let date = 0;
let steps = 0;
let slept = 0;

/** Milliseconds by a clock that nobody sets, and that may stand still while the machine sleeps. */
export function steady(): number {
  return globalThis.performance?.now() ?? Date.now();
}

/**
 * The same by one that goes on while the machine sleeps: where Date.now() is suddenly ahead, that much has passed. Where it is
 * set back, or stands still as in somebody's test, nothing is amiss.
 */
export function now(): number {
  const last = date - steps;
  const jump = (date = Date.now()) - (steps = steady()) - last;
  if (jump > 1000) slept += jump;
  return steps + slept;
}
