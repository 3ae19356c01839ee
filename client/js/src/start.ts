// Where a stream must begin so that it misses nothing that happened since the page read its data.

let requests = 0;
let oldest: { request: number; cursor: string } | undefined;

/** Takes note of a request; the returned function takes the cursor of its answer. */
export function noteRequest(): (cursor: string | null) => void {
  const request = ++requests;
  return (cursor) => {
    // Cursors are opaque, and a slow answer may hold an older one than a quick one before it: the order of asking counts.
    if (cursor && !(oldest && oldest.request < request)) oldest = { request, cursor };
  };
}

/** The oldest cursor noted since a stream was opened. */
export function startCursor(): string | undefined {
  return oldest?.cursor;
}

/** A stream has been opened behind the cursor, so nobody needs it any more. */
export function started(cursor: string | undefined): void {
  if (cursor && oldest?.cursor === cursor) oldest = undefined;
}
