let behind = 0;
let last = 0;

/**
 * Milliseconds by a clock that goes on while the machine sleeps, which timers and performance.now() do not everywhere, and
 * that is never set back, which Date.now() is: what passed between two calls is lost then.
 */
export function now(): number {
  const date = Date.now();
  behind = Math.max(behind, last - date);
  return (last = date + behind);
}
