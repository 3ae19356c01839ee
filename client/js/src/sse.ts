/** One event of a stream, as the WHATWG rules of event stream interpretation give it. */
export interface StreamEvent {
  event: string;
  /** The last `id` of the stream, of this or an earlier event. */
  id: string;
  data: string;
  /** The last `retry` of the stream, in milliseconds. */
  retry: number | undefined;
}

/**
 * Reads an event stream from pieces of any size: the returned function takes them, and emits the events they complete. It
 * throws a TypeError when an event is longer than 8 million characters.
 */
export function createParser(emit: (event: StreamEvent) => void): (bytes: Uint8Array) => void {
  const limit = 8.4e6; // UTF-16 units; the largest event a server sends is 1 MiB before escaping

  const decoder = new TextDecoder(); // drops the byte order mark
  let rest = '';
  let last: string | undefined; // character so far: an LF after a CR belongs to it
  let event = '';
  let data = '';
  let id = '';
  let retry: number | undefined;

  const take = (line: string): void => {
    const [name, value = ''] = line.split(/: ?(.*)/s);
    if (name === 'data') data += '\n' + value;
    else if (name === 'event') event = value;
    else if (name === 'id' && !/\0/.test(value)) id = value;
    else if (name === 'retry' && /^\d+$/.test(value)) retry = +value;
    else if (!line) {
      if (data) emit({ event: event || 'message', id, data: data.slice(1), retry });
      event = data = '';
    }
  };

  return (bytes) => {
    let text = decoder.decode(bytes, { stream: true });
    if (!text) return;
    if (last + text[0]! === '\r\n') text = text.slice(1);
    last = text.slice(-1);
    const lines = text.split(/\r\n?|\n/);
    lines[0] = rest + lines[0]!; // which is not searched again with each piece
    rest = lines.pop()!;
    lines.forEach(take);
    if (rest.length + data.length > limit) throw TypeError('too long');
  };
}
