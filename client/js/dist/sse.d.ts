/** One event of a stream, as the WHATWG rules of event stream interpretation give it. */
export interface StreamEvent {
    event: string;
    /** The last `id` of the stream, of this or an earlier event. */
    id: string;
    data: string;
    /** What `retry` fields have said since the event before, in milliseconds. */
    retry: number | undefined;
}
/**
 * Reads an event stream from pieces of any size: the returned function takes them, and emits the events they complete. It
 * throws a RangeError when an event is longer than 8 Mi characters.
 */
export declare function createParser(emit: (event: StreamEvent) => void): (bytes: Uint8Array) => void;
