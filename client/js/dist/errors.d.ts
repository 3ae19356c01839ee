/** A refusal by the server, or by the client on the server's behalf. */
export declare class RealtimeError extends Error {
    /** What kind of refusal, e.g. `forbidden`, `rate_limited`, `unavailable`; docs/protocol.md lists them. */
    readonly code: string;
    /** Whether the same request can succeed later. */
    readonly retry: boolean;
    constructor(code: string, message: string, retry?: boolean);
}
/** Makes an error of whatever stands where `{code, message, retry}` is expected. */
export declare function asError(body: unknown, code?: string, message?: string, retry?: boolean): RealtimeError;
/** The refusal in an HTTP answer, which a proxy may have written in place of the server. */
export declare function refusal(status: number, body: string): RealtimeError;
/** JSON.parse that gives undefined where the text is no JSON. */
export declare function parse(text: string): unknown;
