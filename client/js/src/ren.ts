import { now } from './clock.js';
import { asError, fatal, parse, RealtimeError } from './errors.js';
import { createKeeper, type Keeper, type State } from './keeper.js';
import { listen, tell, type Listener } from './listen.js';
import { resolve, type ClientOptions } from './options.js';
import type { StreamEvent } from './sse.js';
import type { AnyRenEvent, RenEvent } from './renevent.js';
import { startCursor, started } from './start.js';
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
    const s = subscriptions?.join();
    const url = resolve(endpoint);
    if (s && !s.includes('*')) url.searchParams.set('s', s);

    const events = new Set<Listener<RenEvent<Own>>>();
    let start = startCursor(); // its own from now on, whatever other clients do
    let cursor: string | undefined;
    let tag: string | undefined;
    let denied = 0; // answers 401 in a row
    let way: number; // of the last beat, in ms, give or take how the clocks differ

    const end = (error: RealtimeError): void => {
      keeper.stop_();
      keeper.report_(error);
    };
    const take = ({ event: name, id, data, retry }: StreamEvent): void => {
      const body = parse(data) as RenEvent<Own> & Control;
      cursor = id || cursor;
      keeper.log_(name, body);
      if (!body) return keeper.report_(new RealtimeError('bad_json'));
      const { src, reason, state, ts } = body;
      if (name === 'message') tell(events, src && src === tag ? { ...body, src: keeper.id_ } : body);
      else if (way - (way = now() - ts!) > held) keeper.suspect_('late beats: does a proxy buffer?');
      if (name === 'ren.hello') {
        tag = src;
        denied = 0;
        started(start);
        keeper.opened_(retry);
      }
      if (name === 'ren.reset' || state === 'reset') keeper.missed_({ reason: reason! });
      if (name !== 'ren.bye') return;
      if (reason === 'revoked') end(new RealtimeError('forbidden', reason));
      // After expiry there may be new cookies; if not, the answer is 401.
      else keeper.lost_(body.retryMs);
    };
    const keeper: Keeper<RenReset> = createKeeper<RenReset>(this, options, '[ren]', async (signal, token) => {
      let wait = 0;
      try {
        start ??= startCursor();
        const from = cursor ?? start?.cursor;
        const headers: Record<string, string> = { 'X-Ren-Client': keeper.id_ };
        if (from) headers['Last-Event-ID'] = from;
        if (token) headers['Authorization'] = 'Bearer ' + token;
        const answer = await open(url, headers, signal, take, keeper.heard_, cursor ? undefined : start?.at_);
        if (answer) {
          const { status } = answer;
          const refusal = 'HTTP ' + status;
          keeper.log_(refusal);
          if (status === 401 ? !options.getToken || ++denied > 2 : fatal[status])
            return end(asError(parse(await answer.text()), fatal[status], refusal));
          if (status < 300 || status === 404) keeper.suspect_(refusal + ': is this the endpoint?');
          // 0 where the server does not say, or gives a date
          wait = +answer.headers.get('Retry-After')! * 1000 || 0;
        }
      } catch (e) {
        keeper.log_(e);
      }
      if (!signal.aborted) keeper.lost_(0, wait);
    });
    const open = layer.stream?.(fetchStream, keeper.share_) ?? fetchStream;

    this.on = listen(events);
    this.close = keeper.stop_;
    keeper.start_();
  }
}
