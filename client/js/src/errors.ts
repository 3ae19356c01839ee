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

/** Makes an error, another one each time, of what stands where `{code, message, retry}` is expected. */
export function asError({ code = 'internal', message, retry }: Partial<RealtimeError>): RealtimeError {
  return new RealtimeError(code, message, retry);
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
