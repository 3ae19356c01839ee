import type { Channel } from './channel.js';
import type { RealtimeError } from './errors.js';
import type { Done, Outbox } from './outbox.js';
/** A wish to be present. */
export interface Wish {
    userId: string | undefined;
    metadata: unknown;
    /** Whether the server has agreed; it is then repeated on each connection. */
    ok?: boolean;
    /** The wish it took the place of, which is back if it is refused. */
    before?: Wish | undefined;
}
/** Has the server know who wants to be present where, on each connection anew. */
export interface Wishes {
    /** Joins or updates. */
    make(room: Channel, op: 'join' | 'update', userId: string | undefined, metadata: unknown, done: Done): void;
    /** Leaves. Without a connection nobody is present, so there is nothing to be said. */
    end(room: Channel, wish: Wish, done: Done): void;
    /** Repeats what holds for a channel, on a new connection. */
    restore(room: Channel): void;
    /** The connection is gone, and with it the presence of those who wish for none. */
    cut(): void;
    /** There will be no other connection for now: what has not been agreed to is refused. */
    fail(error: RealtimeError): void;
}
/**
 * @param sync - called when a channel has got a wish, or lost it
 * @param report - told of refusals that nobody waits for
 */
export declare function createWishes(outbox: Outbox, sync: (room: Channel) => void, report: (error: Error) => void): Wishes;
