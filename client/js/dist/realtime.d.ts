import { type RealtimeEvent } from './channel.js';
import { type State } from './keeper.js';
import { type ClientOptions } from './options.js';
import { Presence } from './presence.js';
/** A channel of which something was missed, and why: `evicted`, `epoch`, `unknown` or `backend`. */
export interface RealtimeReset {
    channel: string;
    reason: string;
}
/** The part of the WebSocket class that is used; those of the packages `ws` and `undici` have it, too. */
export type WebSocketMaker = new (url: string, protocol: string) => WebSocketLike;
/** The part of a WebSocket that is used. */
export interface WebSocketLike {
    onopen: ((event: never) => unknown) | null;
    onmessage: ((event: never) => unknown) | null;
    onclose: ((event: never) => unknown) | null;
    send(data: string): void;
    close(code?: number): void;
}
/** Options of {@link RealtimeClient}. */
export interface RealtimeClientOptions extends ClientOptions {
    /** Address of the WebSocket; http(s) becomes ws(s). Default `/api/maravilla/realtime`. */
    wsEndpoint?: string | undefined;
    /** The same as {@link RealtimeClient.onReset}. */
    onReset?: ((reset: RealtimeReset) => void) | undefined;
    /** What makes the connection. Default: the global one, which Node has from version 22 on. */
    WebSocket?: WebSocketMaker | undefined;
}
/**
 * Channels over a WebSocket: messages and presence. After a lost connection it comes back by itself, goes on behind the
 * last event of each channel, and repeats what has had no answer; what cannot be told any more it says through
 * {@link RealtimeClient.onReset}.
 */
export declare class RealtimeClient {
    #private;
    /** @throws TypeError for a relative endpoint outside of a page */
    constructor(options?: RealtimeClientOptions);
    /** Connects, and stays connected until {@link RealtimeClient.disconnect}. */
    connect(): void;
    /** Closes the connection. What has no answer yet is refused as `closing`; subscriptions wait for the next connect. */
    disconnect(): void;
    /** Whether the server has said hello. */
    isConnected(): boolean;
    /** Whether events are coming in. */
    get state(): State;
    /** Calls `cb` with each change of {@link RealtimeClient.state}. */
    onState(cb: (state: State) => void): () => void;
    /** Calls `cb` when it cannot be told what was missed in a channel: read your data again. */
    onReset(cb: (reset: RealtimeReset) => void): () => void;
    /** Calls `cb` with the refusal of a subscription, with what `getToken` threw, or with what ended the client. */
    onError(cb: (error: Error) => void): () => void;
    /** What `from` is in events this client caused. */
    getClientId(): string;
    /** Calls `cb` with each message of a channel, the own ones too. Returns how to stop that. */
    subscribe(channel: string, cb: (event: RealtimeEvent) => void): () => void;
    /** Calls `cb` with each event of the channels that are subscribed to or present in. Returns how to stop that. */
    onAny(cb: (event: RealtimeEvent) => void): () => void;
    /**
     * Publishes a message. Resolves when the server has it. Rejects with a {@link RealtimeError}: with the server's refusal,
     * `too_many` when 100 wait already, `unavailable` when two minutes have brought no answer. May be ignored.
     */
    publish(channel: string, data: unknown): Promise<void>;
    /** Who is present in a channel, and how to be. Costs nothing until used. */
    presence(channel: string): Presence;
}
