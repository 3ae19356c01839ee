import { parse, RealtimeError, refusal } from './errors.js';
import type { State } from './keeper.js';
import { listen, tell, type Listener } from './listen.js';
import { equip, resolve, type ClientOptions } from './options.js';
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
    const { endpoint = '/api/maravilla/ren', subscriptions: s = ['*'], getToken } = options;
    const line = { dial_: () => void dial(), hangUp_: () => attempt?.abort() };
    const kit = equip<RenReset>(this, options, '[ren]', line);
    const { id, share_: share, keeper_: keeper, token_: token, log_: log, report_: report, missed_: missed } = kit;
    const open = layer.stream(fetchStream, share);
    const url = resolve(endpoint);
    if (s.length && !s.includes('*')) url.searchParams.set('s', s.join());

    const events = new Set<Listener<RenEvent<Own>>>();
    let attempt: AbortController | undefined;
    let start = startCursor(); // its own from now on, whatever other clients do
    let cursor: string | undefined;
    let tag: string | undefined;
    let denied = 0; // answers 401 in a row

    const end = (error: RealtimeError): void => {
      keeper.stop_();
      report(error);
    };
    const take = (event: StreamEvent): void => {
      const name = event.event;
      const body = parse(event.data) as RenEvent<Own> & Control;
      cursor = event.id || cursor;
      keeper.retry_ = event.retry ?? keeper.retry_;
      log(name, body);
      if (Object(body) !== body) return report(new RealtimeError('bad_json'));
      const { src, reason } = body;
      if (name === 'message') tell(events, src && src === tag ? { ...body, src: id } : body);
      if (name === 'ren.hello') {
        tag = src;
        denied = 0;
        started(start);
        keeper.opened_();
      }
      if (name === 'ren.reset' || (name === 'ren.hello' && body.state === 'reset')) missed({ reason: reason ?? 'unknown' });
      if (name !== 'ren.bye') return;
      if (reason === 'revoked') end(new RealtimeError('forbidden', reason));
      // After expiry there may be new cookies; if not, the answer is 401.
      else keeper.lost_(body.retryMs || undefined);
    };
    const dial = async (): Promise<void> => {
      const { signal } = (attempt = new AbortController());
      let answer: Response | undefined;
      try {
        const bearer = await token();
        if (signal.aborted) return;
        start ??= startCursor();
        const from = cursor ?? start?.cursor;
        const headers: Record<string, string> = { Accept: 'text/event-stream', 'X-Ren-Client': id };
        if (from) headers['Last-Event-ID'] = from;
        if (bearer) headers['Authorization'] = 'Bearer ' + bearer;
        answer = await open({ url, headers, signal, at_: cursor ? undefined : start?.at_, heard_: keeper.heard_, take_: take });
      } catch (e) {
        log('failed', e);
      }
      if (signal.aborted) return;
      if (!answer) return keeper.lost_();
      const { status } = answer;
      log('refused', status);
      // Retry-After is 0 where the server does not say, or gives a date.
      if (status === 401 ? getToken && ++denied < 3 : ![400, 403, 405].includes(status))
        return keeper.lost_(undefined, +answer.headers.get('Retry-After')! * 1000 || 0);
      const text = await answer.text().catch(() => '');
      if (!signal.aborted) end(refusal(status, text));
    };

    this.on = listen(events);
    this.close = keeper.stop_;
    keeper.start_();
  }
}
