/** A refusal by the server, or by the client on the server's behalf. */
export class RealtimeError extends Error {
  override readonly name = 'RealtimeError';

  /**
   * @param code - what kind of refusal, e.g. `forbidden`, `rate_limited`, `unavailable`; docs/protocol.md lists them
   * @param retry - whether the same request can succeed later
   */
  constructor(readonly code: string, message: string, readonly retry = false) {
    super(message);
  }
}

const byStatus: Record<number, string> = {
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  405: 'method',
  413: 'too_large',
  429: 'rate_limited',
};

/** Makes an error of whatever stands where `{code, message, retry}` is expected. */
export function asError(body: unknown, code: string, message: string, retry: boolean): RealtimeError {
  const b = body as Partial<RealtimeError> | null | undefined;
  return typeof b?.code === 'string'
    ? new RealtimeError(b.code, String(b.message ?? b.code), b.retry === true)
    : new RealtimeError(code, message, retry);
}

/** The refusal in an HTTP answer, which a proxy may have written in place of the server. */
export function refusal(status: number, body: string): RealtimeError {
  const retry = status === 429 || status >= 500;
  return asError(parse(body), byStatus[status] ?? (retry ? 'unavailable' : 'bad_request'), 'HTTP status ' + status, retry);
}

/** JSON.parse that gives undefined where the text is no JSON. */
export function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
