import type { Listener } from './listen.js';
import { Roster } from './roster.js';
import type { Wish } from './wishes.js';
/** What happens in a channel. */
export interface RealtimeEvent {
    /** `message`, `presence.join`, `presence.update` or `presence.leave`. */
    event: string;
    channel: string;
    /** Payload of a message. */
    data?: unknown;
    /** Who caused it: the own client id, or a tag of another's. */
    from?: string;
    /** User: the publisher of a message, the member of a presence event. */
    userId?: string;
    /** When, in milliseconds since the Unix epoch. */
    ts?: number;
    /** What a member says of itself. */
    metadata?: unknown;
    /** Cursor behind the event. */
    id?: string;
}
/** What a client knows of one channel. */
export declare class Channel {
    readonly name: string;
    readonly messages: Set<Listener<RealtimeEvent>>;
    readonly roster: Roster;
    /** Everything up to here has been delivered. */
    cursor: string | undefined;
    /** Whether the server has confirmed the subscription. */
    live: boolean;
    /** Whether presence was asked for; undefined where the connection has no subscription. */
    asked: boolean | undefined;
    /** Whether an answer to that is due. */
    asking: boolean;
    wish: Wish | undefined;
    constructor(name: string, report: (event: RealtimeEvent) => void);
    /** The connection is gone. */
    cut(): void;
    get presence(): boolean;
    get used(): boolean;
}
