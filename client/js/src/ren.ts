import { parse, RealtimeError, refusal } from './errors.js';
import { Keeper, type State } from './keeper.js';
import { listen, tell, type Listener } from './listen.js';
import { resolve, sameOrigin, settings, type ClientOptions, type Settings } from './options.js';
import { StreamParser, type StreamEvent } from './sse.js';
import { startCursor, started } from './start.js';

/** Something that happened on the server. */
export interface RenEvent {
  /** Type: `kv.put`, `db.document.created`, `storage.object.deleted`, `realtime.message`, `presence.join`, … */
  t: string;
  /** Resource domain: `kv`, `db`, `storage`, `realtime`, `presence`, or one of the host's own. */
  r: string;
  /** Key: KV key, document id, object path. */
  k?: string;
  /** Opaque version of what `k` names; never its value. */
  v?: string;
  /** When, in milliseconds since the Unix epoch. */
  ts?: number;
  /** Who caused it: the own client id, or a tag of another's. */
  src?: string;
  /** Namespace: KV namespace, DB collection. */
  ns?: string;
  /** Channel, of realtime and presence events. */
  ch?: string;
  /** Payload of a message; `{metadata, reason?}` of a presence event. */
  data?: unknown;
  /** User: the publisher of a message, the member of a presence event. */
  uid?: string;
}

/** Why a stream cannot tell what was missed: `evicted`, `epoch`, `unknown` or `backend`. */
export interface RenReset {
  reason: string;
}

/** Options of {@link RenClient}. */
export interface RenClientOptions extends ClientOptions {
  /** Address of the stream. Default `/api/maravilla/ren`. */
  endpoint?: string | undefined;
  /** Resource domains to be told about, e.g. `['kv', 'db']`. Default `['*']`, all that is granted. */
  subscriptions?: string[] | undefined;
  /** The same as {@link RenClient.onReset}. */
  onReset?: ((reset: RenReset) => void) | undefined;
}

interface Control {
  cursor?: string;
  state?: string;
  reason?: string;
  src?: string;
  retryMs?: number;
}

/**
 * Listens to what happens on the server. Connects by itself, comes back by itself, and goes on behind the last event it
 * saw; where that cannot be done it says so through {@link RenClient.onReset}.
 */
export class RenClient {
  #set: Settings;
  #url: URL;
  #hasToken: boolean;
  #keeper: Keeper;
  #attempt: AbortController | undefined;
  #cursor: string | undefined = startCursor(); // its own from now on, whatever other clients do
  #tag: string | undefined;
  #denied = 0; // answers 401 in a row
  #expired = 0; // streams that ended by expiry, in a row
  #events = new Set<Listener<RenEvent>>();
  #resets = new Set<Listener<RenReset>>();

  /** @throws TypeError for a relative endpoint outside of a page */
  constructor(options: RenClientOptions = {}) {
    const { endpoint = '/api/maravilla/ren', subscriptions: s = ['*'], onReset } = options;
    this.#set = settings(options, '[ren]');
    this.#hasToken = !!options.getToken;
    this.#url = resolve(endpoint);
    if (s.length && !s.includes('*')) this.#url.searchParams.set('s', s.join());
    if (onReset) this.onReset(onReset);
    const line = { dial: () => void this.#dial(), hangUp: () => this.#hangUp() };
    this.#keeper = new Keeper(line, this.#set.max, this.#set.again);
    this.#keeper.start();
  }

  /** Whether events are coming in. */
  get state(): State {
    return this.#keeper.state;
  }

  /** Calls `cb` with each event, the own ones too. Returns how to stop that. */
  on(cb: (event: RenEvent) => void): () => void {
    return listen(this.#events, cb);
  }

  /** Calls `cb` when it cannot be told what was missed: read your data again. */
  onReset(cb: (reset: RenReset) => void): () => void {
    return listen(this.#resets, cb);
  }

  /** Calls `cb` with each change of {@link RenClient.state}. */
  onState(cb: (state: State) => void): () => void {
    return listen(this.#keeper.states, cb);
  }

  /** Calls `cb` with the refusal that ended the client, with what `getToken` threw, or with an event that could not be read. */
  onError(cb: (error: Error) => void): () => void {
    return listen(this.#set.errors, cb);
  }

  /** What `src` is in events this client caused. */
  getClientId(): string {
    return this.#set.id;
  }

  /** Ends the client for good. */
  close(): void {
    this.#keeper.stop();
  }

  #hangUp(): void {
    this.#attempt?.abort();
    this.#attempt = undefined;
  }

  async #dial(): Promise<void> {
    const attempt = (this.#attempt = new AbortController());
    const { signal } = attempt;
    try {
      const token = await this.#set.token();
      if (signal.aborted) return;
      const from = (this.#cursor ??= startCursor());
      const answer = await this.#request(token, from, signal);
      this.#keeper.heard();
      if (!isStream(answer)) return await this.#refused(answer, signal);
      this.#denied = 0;
      started(from);
      await this.#read(answer.body!, signal);
    } catch (e) {
      if (!signal.aborted) this.#set.log('failed', e);
    }
    if (!signal.aborted) this.#keeper.lost();
  }

  #request(token: string | undefined, from: string | undefined, signal: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = { Accept: 'text/event-stream', 'X-Ren-Client': this.#set.id };
    if (from) headers['Last-Event-ID'] = from;
    if (token) headers['Authorization'] = 'Bearer ' + token;
    const credentials = globalThis.location && !sameOrigin(this.#url) ? 'include' : 'same-origin';
    return fetch(this.#url, { headers, credentials, cache: 'no-store', signal });
  }

  async #read(body: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<void> {
    const reader = body.getReader();
    const parser = new StreamParser((event) => signal.aborted || this.#take(event));
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      this.#keeper.heard();
      parser.push(value);
    }
  }

  async #refused(answer: Response, signal: AbortSignal): Promise<void> {
    const { status } = answer;
    this.#set.log('refused', status);
    const stop = status === 401 ? !this.#hasToken || ++this.#denied >= 3 : [400, 403, 405].includes(status);
    if (!stop) return this.#keeper.lost(undefined, retryAfter(answer));
    const text = await answer.text().catch(() => '');
    if (!signal.aborted) this.#end(refusal(status, text));
  }

  #end(error: Error): void {
    this.#keeper.stop();
    this.#set.report(error);
  }

  #take({ event, id, data, retry }: StreamEvent): void {
    const body = parse(data) as (RenEvent & Control) | null | undefined;
    if (id) this.#cursor = id;
    if (retry !== undefined) this.#keeper.retry = retry;
    this.#set.log(event, body);
    if (!body || typeof body !== 'object') this.#set.report(new RealtimeError('bad_json', 'unreadable event ' + event));
    else if (event === 'message') tell(this.#events, this.#own(body));
    else if (event === 'ren.hello') this.#hello(body);
    else if (event === 'ren.reset') this.#reset(body);
    else if (event === 'ren.bye') this.#bye(body);
  }

  #own(event: RenEvent): RenEvent {
    return event.src && event.src === this.#tag ? { ...event, src: this.#set.id } : event;
  }

  #hello(hello: Control): void {
    this.#tag = hello.src;
    this.#keeper.opened();
    if (hello.state === 'reset') this.#reset(hello);
  }

  #reset({ reason = 'unknown' }: Control): void {
    tell(this.#resets, { reason });
  }

  #bye({ reason, retryMs }: Control): void {
    if (this.#keeper.healthy) this.#expired = 0;
    if (reason === 'revoked') this.#end(new RealtimeError('forbidden', 'revoked'));
    // Cookies may have been renewed in the meantime, so they get one chance.
    else if (reason === 'expired' && !this.#hasToken && this.#expired++) this.#end(new RealtimeError('expired', 'expired'));
    else this.#keeper.lost(retryMs || undefined);
  }
}

function isStream(answer: Response): boolean {
  return answer.status === 200 && !!answer.body && /^text\/event-stream\b/i.test(answer.headers.get('Content-Type') ?? '');
}

/** Milliseconds, 0 where the server does not say or gives a date. */
function retryAfter(answer: Response): number {
  return (+(answer.headers.get('Retry-After') ?? 0) || 0) * 1000;
}
