/** How fast and how large a server lets a client speak; see the hello in docs/protocol.md. */
export interface Limits {
    message: number;
    rate: number;
    burst: number;
}
/** A token bucket: says when the next operation may be sent. */
export interface Pace {
    /** Takes leave to send one operation; else tells how many milliseconds to wait. */
    take(): number;
    /** Nothing more for so many seconds. */
    rest(seconds: number): void;
}
/** A little below the limits, since the network can push together what was sent apart. */
export declare function createPace({ rate, burst }: Limits): Pace;
