/** A refusal by the server, or by the client on the server's behalf. */
export declare class RealtimeError extends Error {
    readonly code: string;
    readonly retry: boolean;
    readonly name = "RealtimeError";
    /**
     * @param code - what kind of refusal, e.g. `forbidden`, `rate_limited`, `unavailable`; docs/protocol.md lists them
     * @param retry - whether the same request can succeed later
     */
    constructor(code: string, message: string, retry?: boolean);
}
/** Makes an error of whatever stands where `{code, message, retry}` is expected. */
export declare function asError(body: unknown, code: string, message: string, retry: boolean): RealtimeError;
/** The refusal in an HTTP answer, which a proxy may have written in place of the server. */
export declare function refusal(status: number, body: string): RealtimeError;
/** JSON.parse that gives undefined where the text is no JSON. */
export declare function parse(text: string): unknown;
