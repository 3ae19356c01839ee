import { type State } from './keeper.js';
import { type ClientOptions } from './options.js';
import type { AnyRenEvent, RenEvent } from './renevent.js';
/** Why a stream cannot tell what was missed: `evicted`, `epoch`, `unknown` or `backend`. */
export interface RenReset {
    reason: string;
}
/** Options of {@link RenClient}. */
export interface RenClientOptions extends ClientOptions {
    /** Address of the stream. Default `/api/maravilla/ren`. */
    endpoint?: string | undefined;
    /** Resource domains to be told about, e.g. `['kv', 'db']`. Default `['*']`, all that is granted. */
    subscriptions?: string[] | undefined;
    /** The same as {@link RenClient.onReset}. */
    onReset?: ((reset: RenReset) => void) | undefined;
}
/**
 * Listens to what happens on the server. Connects by itself, comes back by itself, and goes on behind the last event it
 * saw; where that cannot be done it says so through {@link RenClient.onReset}.
 *
 * The type parameter names the events of one's own resources, e.g. `RenClient<{ t: 'job.done'; r: 'jobs'; k: string }>`.
 */
export declare class RenClient<Own extends AnyRenEvent = never> {
    #private;
    /** Calls `cb` with each event, the own ones too. Returns how to stop that. */
    readonly on: (cb: (event: RenEvent<Own>) => void) => () => void;
    /** Calls `cb` when it cannot be told what was missed: read your data again. */
    readonly onReset: (cb: (reset: RenReset) => void) => () => void;
    /** Calls `cb` with each change of {@link RenClient.state}. */
    readonly onState: (cb: (state: State) => void) => () => void;
    /** Calls `cb` with the refusal that ended the client, with what `getToken` threw, or with an event that could not be read. */
    readonly onError: (cb: (error: Error) => void) => () => void;
    /** What `src` is in events this client caused. */
    readonly getClientId: () => string;
    /** Ends the client for good. */
    readonly close: () => void;
    /** @throws TypeError for a relative endpoint outside of a page */
    constructor(options?: RenClientOptions);
    /** Whether events are coming in. */
    get state(): State;
}
