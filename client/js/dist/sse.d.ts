/** One event of a stream, as the WHATWG rules of event stream interpretation give it. */
export interface StreamEvent {
    event: string;
    /** The last `id` of the stream, of this or an earlier event. */
    id: string;
    data: string;
    /** What `retry` fields have said since the event before, in milliseconds. */
    retry?: number;
}
/** Reads an event stream from pieces of any size. */
export declare class StreamParser {
    #private;
    constructor(emit: (event: StreamEvent) => void);
    /**
     * Reads on; emits the events the bytes complete.
     * @throws RangeError when an event is longer than 8 Mi characters
     */
    push(bytes: Uint8Array): void;
}
