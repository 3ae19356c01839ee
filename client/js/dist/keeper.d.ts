import { type Listener } from './listen.js';
import type { ClientOptions } from './options.js';
/** `connecting` also while waiting for the next attempt; `closed` only when none will be made. */
export type State = 'connecting' | 'open' | 'closed';
/** What a Keeper keeps up. */
export interface Line {
    /** Begins one attempt, which ends in {@link Keeper.opened} or {@link Keeper.lost}. */
    dial(): void;
    /** Drops the connection or the attempt, after which it must not call the keeper any more. */
    hangUp(): void;
}
/** Keeps one connection up: when to try again, when to give a silent one up, and what to do as the page comes and goes. */
export interface Keeper {
    state: State;
    readonly states: Set<Listener<State>>;
    /** The server's wish for the next wait, in milliseconds. */
    retry: number | undefined;
    /** Begins, unless begun. */
    start(): void;
    /** Ends, until started again. */
    stop(): void;
    /** Bytes have come. */
    heard(): void;
    /** The server has said hello. */
    opened(): void;
    /** Whether this connection has lasted long enough to forget the troubles before it. */
    healthy(): boolean;
    /**
     * The connection is lost or was refused.
     * @param wait - milliseconds to the next attempt, where it is known
     * @param atLeast - milliseconds on top of the random wait
     */
    lost(wait?: number, atLeast?: number): void;
}
/** @param name - stands before what goes to the console */
export declare function createKeeper(line: Line, name: string, { autoReconnect, maxBackoffMs }: ClientOptions): Keeper;
