import { type Limits } from '../pace.js';
/** One thing said: to one tab, or to all. */
export type Line = [to: string | undefined, text: string];
/** Speaks for many tabs on one WebSocket. */
export interface Hub {
    /** A tab comes; false where it is there already. */
    add(tab: string, cid: string): boolean;
    /** A tab goes. It leaves where it is present after the grace that a server gives an orderly close. */
    drop(tab: string): void;
    /** Takes an operation of a tab. */
    op(tab: string, text: string): void;
    /** Takes a frame of the server. */
    frame(text: string): void;
    /** The connection is over. */
    close(): void;
}
/**
 * @param send - to the server
 * @param tell - to the tabs, in order
 * @param alone - a tab cannot be served here: it has to have a connection of its own
 */
export declare function createHub(limits: Partial<Limits> | undefined, send: (text: string) => void, tell: (lines: Line[]) => void, alone: (tab: string) => void): Hub;
