const least = 500;

/** A wait in milliseconds, anywhere between 500 and `bound`, so that clients cut together come back apart. */
export function spread(bound: number): number {
  const low = Math.min(least, bound);
  return low + Math.random() * (bound - low);
}

/** The bound of the wait before attempt `n` (1, 2, …): it doubles from one second to `max`, in milliseconds. */
export function bound(n: number, max: number): number {
  return Math.min(max, least * 2 ** n);
}
