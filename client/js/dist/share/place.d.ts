/** What the tabs of a group say to each other: to all of them, or to the one with the id `to`. */
export interface Message {
    to?: string;
    /** The leader that says it. */
    from?: string;
    /** The id of a new leader. What was said before it, all tabs have heard, and what comes after it comes from the leader. */
    lead?: string;
}
/** One attempt's place in the group of tabs that share a connection. */
export interface Place<M extends Message> {
    readonly name: string;
    readonly id: string;
    /** Whether it is this tab that has the connection. */
    lead: boolean;
    /** Whether the lead has come to this tab, and waits for the next attempt. */
    heir: boolean;
    say(message: M): void;
    /** Takes the lead from a tab that hangs. */
    steal(): Promise<void>;
    leave(): void;
}
/** Takes a place; `over` is called when another tab has taken the lead from it. */
export type Take<M extends Message> = (name: string, hear: (message: M) => void, over: () => void) => Promise<Place<M>>;
interface Lock {
    release(): void;
    stolen(): void;
}
/** Whether this is a page, or a worker, that can share. Web Locks are there in secure contexts only. */
export declare function canShare(): boolean;
/** Waits for a lock; gives undefined where `ifAvailable` is asked for and it is not. */
export declare function lock(name: string, options: LockOptions): Promise<Lock | undefined>;
/** Makes the places of one client, one after the other. */
export declare function createSeat<M extends Message>(): Take<M>;
export {};
