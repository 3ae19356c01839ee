/**
 * Milliseconds by a clock that goes on while the machine sleeps, which timers and performance.now() do not everywhere, and
 * that is never set back, which Date.now() is: what passed between two calls is lost then.
 */
export declare function now(): number;
