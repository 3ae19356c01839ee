// Where a stream must begin so that it misses nothing that happened since the page read its data.

/** What was answered to a request: a cursor from before the data was read. */
export interface ReadCursor {
  cursor: string;
  /** When the request was made, by Date.now(). */
  at_: number;
  /** Which of the page's requests it was. */
  request_: number;
}

let requests = 0;

/** The oldest cursor noted since a stream was opened from it. */
export const read: { oldest_?: ReadCursor | undefined } = {};

/** Takes note of a request; the returned function takes the cursor of its answer. */
export function noteRequest(): (cursor: string | null) => void {
  const request = ++requests;
  const at = Date.now();
  return (cursor) => {
    // Cursors are opaque, and a slow answer may hold an older one than a quick one before it: the order of asking counts.
    if (cursor && !(read.oldest_ && read.oldest_.request_ < request)) read.oldest_ = { cursor, at_: at, request_: request };
  };
}
