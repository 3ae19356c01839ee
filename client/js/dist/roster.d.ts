import { type Listener } from './listen.js';
/** A user who is present in a channel. */
export interface Member<T = unknown> {
    userId: string;
    /** What the member's last join or update said. */
    metadata?: T;
    /** When the member last did something, in milliseconds since the Unix epoch. */
    lastSeen: number;
}
/** What can happen to a member. */
export type Change = 'join' | 'leave' | 'update';
/** Who is present in a channel, as far as the listeners have been told. */
export interface Roster {
    /** Whether the server has said who is there. */
    known: boolean;
    /** How many listen. */
    listeners: number;
    members(): Member[];
    /** Adds a listener; one for joins is told, in a moment, who is there already. Returns how to remove it. */
    listen(change: Change, cb: Listener<Member>): () => void;
    /** Takes one change; false where it changes nothing. */
    apply(change: Change, member: Member): boolean;
    /** Takes the whole roster, and reports in what it differs from the one before. */
    replace(members: Member[]): void;
    /** Forgets everybody, as nobody is told of them any more. */
    clear(): void;
}
/** @param report - told of changes that no single event of the server stands for */
export declare function createRoster(report: (change: Change, member: Member) => void): Roster;
