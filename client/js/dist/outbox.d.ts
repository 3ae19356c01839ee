import { RealtimeError } from './errors.js';
import { type Limits } from './pace.js';
/** What a server answers to one operation. */
export interface Answer {
    event: string;
    ref?: number;
    state?: string;
    reason?: string;
    cursor?: string;
}
/** Called once, with the answer or the refusal. */
export type Done = (error: RealtimeError | undefined, answer?: Answer) => void;
/**
 * The operations that have no answer yet, in order. Kept ones outlive the connection and are sent again on the next; the
 * others are about the connection itself. It speaks no faster than the server has said, so that what is sent is not refused.
 */
export interface Outbox {
    /** Whether there is a connection. */
    isOpen(): boolean;
    /** How many kept operations wait for an answer. */
    kept(): number;
    /** Adds an operation that outlives the connection. It is refused as `unavailable` after two minutes without an answer. */
    keep(op: object, done: Done): void;
    /** Adds an operation of the connection, which is forgotten with it. It waits for the answers to those before it in its lane. */
    add(op: object, lane: string, done: Done): void;
    /** A connection is open. What `first` adds goes before what is left of the connection before it. */
    open(send: (text: string) => void, limits: Partial<Limits> | undefined, first: () => void): void;
    /** The connection is gone. */
    cut(): void;
    /** Takes an answer; false where nobody waits for it. */
    answer(answer: Answer): boolean;
    /** Refuses all that waits. */
    fail(error: RealtimeError): void;
}
export declare function createOutbox(): Outbox;
