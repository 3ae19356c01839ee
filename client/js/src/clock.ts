let ahead = 0; // of Date.now(), against steady()
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
  const steps = steady();
  const jump = -ahead + (ahead = Date.now() - steps);
  if (jump > 1000) slept += jump;
  return steps + slept;
}
