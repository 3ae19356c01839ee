/** A wait in milliseconds, anywhere between 500 and `bound`, so that clients cut together come back apart. */
export declare function spread(bound: number): number;
/** The bound of the wait before attempt `n` (1, 2, …): it doubles from one second to `max`, in milliseconds. */
export declare function bound(n: number, max: number): number;
