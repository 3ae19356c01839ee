/** One event of a stream, as the WHATWG rules of event stream interpretation give it. */
export interface StreamEvent {
  event: string;
  /** The last `id` of the stream, of this or an earlier event. */
  id: string;
  data: string;
  /** What `retry` fields have said since the event before, in milliseconds. */
  retry?: number;
}

const limit = 8 << 20; // UTF-16 units; the largest event a server sends is 1 MiB before escaping

/** Reads an event stream from pieces of any size. */
export class StreamParser {
  #decoder = new TextDecoder(); // drops the byte order mark
  #emit: (event: StreamEvent) => void;
  #rest = '';
  #cr = false; // the text so far ends with CR: an LF that follows belongs to it
  #name = '';
  #data = '';
  #id = '';
  #retry: number | undefined;

  constructor(emit: (event: StreamEvent) => void) {
    this.#emit = emit;
  }

  /**
   * Reads on; emits the events the bytes complete.
   * @throws RangeError when an event is longer than 8 Mi characters
   */
  push(bytes: Uint8Array): void {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (!text) return;
    if (this.#cr && text[0] === '\n') text = text.slice(1);
    this.#cr = text.endsWith('\r');
    const lines = text.split(/\r\n|\r|\n/);
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#line(line);
    this.#bound();
  }

  #line(line: string): void {
    if (!line) return this.#dispatch();
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1));
    if (name === 'data') this.#data += value + '\n';
    else if (name === 'event') this.#name = value;
    else if (name === 'id' && !value.includes('\0')) this.#id = value;
    else if (name === 'retry' && /^\d+$/.test(value)) this.#retry = +value;
    this.#bound();
  }

  #dispatch(): void {
    const retry = this.#retry;
    const event: StreamEvent = { event: this.#name || 'message', id: this.#id, data: this.#data.slice(0, -1) };
    const some = this.#data !== '';
    this.#name = this.#data = '';
    if (!some) return;
    this.#retry = undefined;
    this.#emit(retry === undefined ? event : { ...event, retry });
  }

  #bound(): void {
    if (this.#rest.length + this.#data.length > limit) throw new RangeError('event too long');
  }
}
