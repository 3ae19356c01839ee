import { now } from './clock.js';
import { parse, RealtimeError } from './errors.js';
import { createReconnector, type Reconnector, type State } from './reconnector.js';
import { listen, tell, type Listener } from './listen.js';
import { resolve, type ClientOptions } from './options.js';
import type { AnyRenEvent, RenEvent } from './renevent.js';
import type { StreamEvent } from './sse.js';
import { read } from './readCursor.js';
import { fetchStream, layer } from './transport.js';

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

/** What the server says of the stream itself. */
interface Control {
  state?: string;
  reason?: string;
  retryMs?: number;
  expiresIn?: number;
}

/**
 * Listens to what happens on the server. Connects by itself, comes back by itself, and goes on after the last event it
 * saw; where that cannot be done it says so through {@link RenClient.onReset}.
 *
 * The type parameter names the events of one's own resources, e.g. `RenClient<{ t: 'job.done'; r: 'jobs'; k: string }>`.
 */
export class RenClient<Own extends AnyRenEvent = never> {
  /** Whether events are coming in. */
  declare readonly state: State;
  /** Calls `cb` with each event, the own ones too. Returns how to stop that. */
  declare readonly on: (cb: (event: RenEvent<Own>) => void) => () => void;
  /** Calls `cb` when it cannot be told what was missed: read your data again. */
  declare readonly onReset: (cb: (reset: RenReset) => void) => () => void;
  /** Calls `cb` with each change of {@link RenClient.state}. */
  declare readonly onState: (cb: (state: State) => void) => () => void;
  /** Calls `cb` with the refusal that ended the client, with what `getToken` threw, or with an event that could not be read. */
  declare readonly onError: (cb: (error: Error) => void) => () => void;
  /** What `src` is in events this client caused. */
  declare readonly getClientId: () => string;
  /** Ends the client for good. */
  declare readonly close: () => void;

  /** @throws TypeError for a relative endpoint outside of a page */
  constructor(options: RenClientOptions = {}) {
    const held = 4_000; // ms that a beat takes longer than the next only where something holds it back

    const { endpoint = '/api/maravilla/ren', subscriptions } = options;
    const events = new Set<Listener<RenEvent<Own>>>();
    const s = subscriptions?.join();
    const url = resolve(endpoint);
    if (s && !s.includes('*')) url.searchParams.set('s', s);
    let start = read.oldest_; // its own from now on, whatever other clients do
    let cursor: string | undefined;
    let from: string | undefined; // what the stream was asked for with
    let tag: string | undefined;
    let way: number; // of the last beat, in ms, give or take how the clocks differ

    const take = ({ event: name, id, data, retry }: StreamEvent): void => {
      const body = parse(data) as AnyRenEvent & Control;
      cursor = id || cursor;
      reconnector.log_(name, body);
      if (!body) return reconnector.report_(new RealtimeError('bad_json'));
      const { src, reason = 'unknown', state } = body;
      if (src && src === tag) body.src = this.getClientId();
      if (name === 'message') tell(events, body as RenEvent<Own>);
      else if (way - (way = now() - body.ts!) > held) reconnector.suspect_('late: proxy?');
      if (name === 'ren.hello') {
        tag = src;
        if (start === read.oldest_) read.oldest_ = undefined; // the next stream needs it no more
        reconnector.opened_(body.expiresIn, retry);
      }
      // A server that answers as if there had been no cursor does not know it.
      if (name === 'ren.reset' || state === 'reset' || (from && state === 'fresh')) reconnector.missed_({ reason });
      if (name === 'ren.bye') reconnector.bye_(reason, body.retryMs);
    };
    const dial_ = async (signal: AbortSignal, token: string | undefined): Promise<void> => {
      // What fetch refuses as if there were no network: an address with a user, and what no header can carry.
      const sendable = /^https?:\/\/[^/@]+\/[ -\xff]+$/;
      if (!sendable.test(url.href + this.getClientId())) throw new RealtimeError('bad_request', 'endpoint or clientId');
      if (!sendable.test(url.href + token?.trim())) throw TypeError('bad token');
      start ??= read.oldest_;
      from = cursor ?? start?.cursor;
      const headers = {
        'X-Ren-Client': this.getClientId(),
        ...(from && { 'Last-Event-ID': from }),
        ...(token && { Authorization: 'Bearer ' + token }),
      };
      const answer = await open(url, headers, signal, take, reconnector.heard_, cursor ? undefined : start?.at_)
        // A server that has answered before is away; if none has, something may be wrong here.
        .catch((e) => void (signal.aborted || cursor || reconnector.suspect_(e)));
      if (answer && answer.status < 429) {
        // A proxy may answer with the same status, as while the server is deployed, and means nothing final by it.
        const { code, message, retry } = Object(parse((await answer.text().catch(reconnector.log_)) as string)) as Partial<RealtimeError>;
        if (!answer.ok && code?.match?.(/^[a-z_]+$/) && retry === false) throw new RealtimeError(code, message);
        reconnector.suspect_('HTTP ' + answer.status);
      }
      // Nothing where the server does not say, or gives a date.
      if (!signal.aborted) reconnector.lost_(undefined, +answer?.headers.get('Retry-After')! * 1000);
    };

    const reconnector: Reconnector<RenReset> = createReconnector(this, options, '[ren]', { dial_ });
    const open = layer.stream?.(fetchStream, options) ?? fetchStream;
    this.on = listen(events);
    this.close = () => reconnector.stop_();
    reconnector.start_();
  }
}
