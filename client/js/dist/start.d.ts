/** Takes note of a request; the returned function takes the cursor of its answer. */
export declare function noteRequest(): (cursor: string | null) => void;
/** The oldest cursor noted since a stream was opened. */
export declare function startCursor(): string | undefined;
/** A stream has been opened behind the cursor, so nobody needs it any more. */
export declare function started(cursor: string | undefined): void;
