/** A refusal by the server, or by the client on the server's behalf. */
export class RealtimeError extends Error {
  /** What kind of refusal, e.g. `forbidden`, `rate_limited`, `unavailable`; docs/protocol.md lists them. */
  declare readonly code: string;
  /** Whether the same request can succeed later. */
  declare readonly retry: boolean;

  constructor(code: string, message: string = code, retry = false) {
    super(message);
    Object.assign(this, { name: 'RealtimeError', code, retry });
  }
}

const byStatus: Record<number, string> = {
  401: 'unauthorized',
  403: 'forbidden',
  413: 'too_large',
  429: 'rate_limited',
};

/** Makes an error of whatever stands where `{code, message, retry}` is expected. */
export function asError(body: unknown, code = 'internal', message: string = code, retry = false): RealtimeError {
  const said = Object(body) as Partial<RealtimeError>;
  return new RealtimeError(`${said.code ?? code}`, `${said.message ?? message}`, !!(said.retry ?? retry));
}

/** The refusal in an HTTP answer, which a proxy may have written in place of the server. */
export function refusal(status: number, body: string): RealtimeError {
  const retry = status === 429 || status > 499;
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
