import { type State } from './keeper.js';
import { type ClientOptions } from './options.js';
/** Something that happened on the server. */
export interface RenEvent {
    /** Type: `kv.put`, `db.document.created`, `storage.object.deleted`, `realtime.message`, `presence.join`, … */
    t: string;
    /** Resource domain: `kv`, `db`, `storage`, `realtime`, `presence`, or one of the host's own. */
    r: string;
    /** Key: KV key, document id, object path. */
    k?: string;
    /** Opaque version of what `k` names; never its value. */
    v?: string;
    /** When, in milliseconds since the Unix epoch. */
    ts?: number;
    /** Who caused it: the own client id, or a tag of another's. */
    src?: string;
    /** Namespace: KV namespace, DB collection. */
    ns?: string;
    /** Channel, of realtime and presence events. */
    ch?: string;
    /** Payload of a message; `{metadata, reason?}` of a presence event. */
    data?: unknown;
    /** User: the publisher of a message, the member of a presence event. */
    uid?: string;
}
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
 */
export declare class RenClient {
    #private;
    /** @throws TypeError for a relative endpoint outside of a page */
    constructor(options?: RenClientOptions);
    /** Whether events are coming in. */
    get state(): State;
    /** Calls `cb` with each event, the own ones too. Returns how to stop that. */
    on(cb: (event: RenEvent) => void): () => void;
    /** Calls `cb` when it cannot be told what was missed: read your data again. */
    onReset(cb: (reset: RenReset) => void): () => void;
    /** Calls `cb` with each change of {@link RenClient.state}. */
    onState(cb: (state: State) => void): () => void;
    /** Calls `cb` with the refusal that ended the client, with what `getToken` threw, or with an event that could not be read. */
    onError(cb: (error: Error) => void): () => void;
    /** What `src` is in events this client caused. */
    getClientId(): string;
    /** Ends the client for good. */
    close(): void;
}
