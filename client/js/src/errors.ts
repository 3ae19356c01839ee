/** A refusal by the server, or by the client on the server's behalf. */
export class RealtimeError extends Error {
  /** What kind of refusal, e.g. `forbidden`, `rate_limited`, `unavailable`; docs/protocol.md lists them. */
  declare readonly code: string;
  /** Whether the same request can succeed later. */
  declare readonly retry: boolean;
  /** Of which channel a subscription or a presence was refused or taken away, where nobody waits for an answer. */
  declare readonly channel?: string;

  constructor(code: string, message: string = code, retry = false) {
    super(message);
    Object.assign(this, { name: 'RealtimeError', code, retry });
  }
}

/** The codes of those HTTP statuses that no repetition changes. A WebSocket is closed with 4000 more. */
export const fatal: Record<number, string> = { 400: 'bad_request', 401: 'unauthorized', 403: 'forbidden', 405: 'method' };

/** Makes an error of whatever stands where `{code, message, retry}` is expected. */
export function asError(body: unknown, code = 'internal', message?: string): RealtimeError {
  const said = { code, message, ...(body as Partial<RealtimeError>) };
  return new RealtimeError(said.code, said.message, said.retry);
}

/**
 * The final refusal in an answer to a stream's request, if a server of ours has written it. A proxy in front of it may answer with
 * the same status, as while the server is deployed, and means nothing final by it.
 */
export function ownRefusal(text: string): RealtimeError | undefined {
  const { code, message, retry } = Object(parse(text)) as Partial<RealtimeError>;
  return /^[a-z_]+$/.test(code!) && message && retry === false ? new RealtimeError(code!, message) : undefined;
}

/** Whether other credentials may change what was refused with a code. */
export function isDenial(code: string): boolean {
  return code === 'unauthorized' || code === 'expired';
}

/** JSON.parse that gives undefined where the text is no JSON. */
export function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
