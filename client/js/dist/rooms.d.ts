import { type Channel, type RealtimeEvent } from './channel.js';
import type { Answer, Outbox } from './outbox.js';
import type { Limits } from './pace.js';
import type { Member } from './roster.js';
import { type Wishes } from './wishes.js';
/** A channel of which something was missed, and why: `evicted`, `epoch`, `unknown` or `backend`. */
export interface RealtimeReset {
    channel: string;
    reason: string;
}
/** Whatever a server says. */
export interface Frame extends Answer {
    channel?: string;
    id?: string;
    from?: string;
    src?: string;
    userId?: string;
    metadata?: unknown;
    ts?: number;
    limits?: Limits;
    members?: Member[];
    retryMs?: number;
}
/** The channels that are in use: has the server know of them, on each connection anew, and takes what it says of them. */
export interface Rooms {
    /** The channel of a name, if anyone uses it. */
    peek(name: string): Channel | undefined;
    /** The channel of a name, made if need be. */
    room(name: string): Channel;
    /** Uses a channel; returns how to end that, given how to begin it. */
    use(name: string, begin: (room: Channel) => () => void): () => void;
    wishes: Wishes;
    /** The connection is new: asks for all there is. */
    restore(): void;
    /** The connection is gone. */
    cut(): void;
    /** Everything up to the cursor has come, in every channel that is subscribed to. */
    complete(cursor: string | undefined): void;
    /** Takes an event of a channel. */
    event(frame: Frame): void;
}
/**
 * @param report - told of refusals
 * @param any - told of every event
 * @param missed - told of channels of which something was missed
 */
export declare function createRooms(outbox: Outbox, report: (error: Error) => void, any: (event: RealtimeEvent) => void, missed: (reset: RealtimeReset) => void): Rooms;
