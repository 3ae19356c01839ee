/** What was answered to a request: a cursor from before the data was read. */
export interface Start {
    cursor: string;
    /** When the request was made, by Date.now(). */
    at: number;
}
/** Takes note of a request; the returned function takes the cursor of its answer. */
export declare function noteRequest(): (cursor: string | null) => void;
/** The oldest cursor noted since a stream was opened. */
export declare function startCursor(): Start | undefined;
/** A stream has been opened behind the cursor, so nobody needs it any more. */
export declare function started(start: Start | undefined): void;
