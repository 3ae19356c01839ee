import { asError, isDenial, parse, RealtimeError } from './errors.js';
import { getOrCreateClientId } from './id.js';
import { ownOrigin, resolve, sameOrigin, type ClientOptions } from './options.js';
import { noteRequest } from './readCursor.js';

/** What {@link renFetch} can be told on top of what fetch can. */
export interface RenRequestInit extends RequestInit {
  /** Gives a bearer token, asked for each request. It goes to the page's own origin only. */
  getToken?: ClientOptions['getToken'];
}

/**
 * `fetch` that says who asks: requests to the page's own origin carry the client id, so that the events they cause come
 * back with it as `src`. It also remembers the oldest `X-Ren-Cursor` answered, for the next {@link RenClient} to begin
 * there and miss nothing. Rejects as fetch does, or with what `getToken` throws.
 */
export async function renFetch(input: string | URL | Request, { getToken, ...init }: RenRequestInit = {}): Promise<Response> {
  const request = input as Partial<Request>; // where there is no such class, as in jsdom, there are no such objects
  const address = request.url ?? String(input);
  const usual = locate(address, globalThis.document?.baseURI ?? globalThis.location?.href);
  // In a worker that a page has made of a blob, fetch finds nothing by a relative address.
  const url = usual ?? locate(address, ownOrigin());
  if (!url || !sameOrigin(url)) return fetch(input, init);
  const given = init.headers ?? request.headers;
  const own = { ...(getToken && (await bearer(getToken, init.signal ?? request.signal))), 'X-Ren-Client': getOrCreateClientId() };
  let headers: HeadersInit = { ...(given as Record<string, string>), ...own };
  if (globalThis.Headers) {
    headers = new Headers(given);
    for (const [name, value] of Object.entries(own)) headers.set(name, value);
  }
  const note = noteRequest();
  // A redirect to another origin, which would be given the headers, fails as the network does.
  const answer = await fetch(usual ? input : url, { ...init, headers, mode: 'same-origin' });
  note(answer?.headers?.get?.('X-Ren-Cursor')); // a mocked fetch answers with less
  return answer;
}

/** What an address means there; undefined where it means nothing. */
function locate(address: string, base: string | undefined): URL | undefined {
  try {
    return new URL(address, base);
  } catch {
    return undefined;
  }
}

/** Options of {@link storageDelete}. */
export interface StorageOptions {
  /** Address of the storage handler. Default `/api/storage`. */
  endpoint?: string | undefined;
  /** Ends the request when aborted. */
  signal?: AbortSignal | undefined;
  /**
   * Gives a bearer token, asked for each request; it goes to `endpoint`. Asked again where the server refuses the token, and the request
   * sent once more if that gives another one. Default: cookies only.
   */
  getToken?: ClientOptions['getToken'];
}

/** Options of {@link storageUpload}. */
export interface UploadOptions extends StorageOptions {
  /** Called as the upload goes on, with bytes sent and bytes in all. */
  onProgress?: ((progress: { loaded: number; total: number }) => void) | undefined;
}

/** What a storage handler says of an object. */
export interface StoredObject {
  path: string;
  /** In bytes. */
  size: number;
  /** Opaque; another one after each change. */
  version: string;
  /** Its media type. */
  type: string;
}

/**
 * Uploads a file to `path`. Resolves with what the server says of the object, or undefined where it says nothing. Rejects
 * with a {@link RealtimeError} when refused, or when a page answers (HTML), such as one to log in at; as fetch does when
 * the network fails or `signal` aborts; and with what `getToken` throws.
 */
export async function storageUpload(path: string, file: Blob, options: UploadOptions = {}): Promise<StoredObject | undefined> {
  const url = address('upload', path, options);
  const { signal = null, onProgress } = options;
  return authorised(options, async (token) => {
    const headers = { ...(file.type && { 'Content-Type': file.type }), ...token };
    if (onProgress && globalThis.XMLHttpRequest) return uploadByXHR(url, file, headers, options);
    return settle(await renFetch(url, { method: 'POST', body: file, headers, signal }));
  });
}

/** Deletes the file at `path`. Resolves and rejects as {@link storageUpload}. */
export async function storageDelete(path: string, options: StorageOptions = {}): Promise<void> {
  const url = address('delete', path, options);
  const { signal = null } = options;
  await authorised(options, async (headers) => settle(await renFetch(url, { method: 'DELETE', ...(headers && { headers }), signal })));
}

/** Sends a request with a token, and once more with another one where that is refused: it may have expired on the way. */
async function authorised<T>({ getToken, signal }: StorageOptions, send: (headers?: Record<string, string>) => Promise<T>): Promise<T> {
  if (!getToken) return send();
  const headers = await bearer(getToken, signal);
  try {
    return await send(headers);
  } catch (e) {
    if (!isDenial((e as RealtimeError | undefined)?.code ?? '')) throw e;
    const fresh = await bearer(getToken, signal);
    if (fresh['Authorization'] === headers['Authorization']) throw e;
    return send(fresh);
  }
}

function address(verb: string, path: string, { endpoint = '/api/storage' }: StorageOptions): URL {
  return resolve(endpoint + '/' + verb + '?path=' + encodeURIComponent(path));
}

/** Asks for a token, which may never come: until the request is aborted. */
async function bearer(getToken: NonNullable<ClientOptions['getToken']>, signal?: AbortSignal | null): Promise<Record<string, string>> {
  const token = await new Promise<string | undefined>((done, fail) => {
    signal?.throwIfAborted();
    const abort = (): void => fail(signal!.reason);
    signal?.addEventListener('abort', abort);
    void Promise.resolve(getToken()).then(done, fail).finally(() => signal?.removeEventListener('abort', abort));
  });
  return token ? { Authorization: 'Bearer ' + token } : {};
}

async function settle(answer: Response): Promise<StoredObject | undefined> {
  const body = answer.text ? parse(await answer.text()) : await answer.json?.(); // a mocked fetch answers with less
  if (!answer.ok) throw refusal(answer.status, body);
  return accepted(body, answer.headers?.get?.('Content-Type'), answer.url);
}

/** A page in the place of the answer, such as one to log in at that a redirect led to, says nothing of the object. */
function accepted(body: unknown, type: string | null | undefined, from: string): StoredObject | undefined {
  if (/^text\/html/i.test(type ?? '')) throw new RealtimeError('unavailable', 'a page answers in place of the storage: ' + from.split('?')[0], true);
  return body as StoredObject | undefined;
}

/** The codes of those refusals that say what is wrong with a request. */
const codes: Record<number, string> = {
  400: 'bad_request', 401: 'unauthorized', 403: 'forbidden', 404: 'not_found', 405: 'method', 413: 'too_large', 429: 'rate_limited',
};

/** The refusal in an answer, which a proxy may have written in place of the server. */
function refusal(status: number, body: unknown): RealtimeError {
  const retry = status === 429 || status > 499;
  const code = codes[status] ?? (retry ? 'unavailable' : 'bad_request');
  return asError({ code, message: 'HTTP ' + status, retry, ...(body as object) });
}

/** fetch cannot tell how far an upload has come. */
function uploadByXHR(
  url: URL, file: Blob, headers: Record<string, string>, { onProgress, signal }: UploadOptions,
): Promise<StoredObject | undefined> {
  return new Promise((done, fail) => {
    signal?.throwIfAborted();
    const xhr = new XMLHttpRequest();
    const abort = (): void => xhr.abort();
    signal?.addEventListener('abort', abort);
    xhr.open('POST', url.href);
    for (const name in headers) xhr.setRequestHeader(name, headers[name]!);
    if (sameOrigin(url)) xhr.setRequestHeader('X-Ren-Client', getOrCreateClientId());
    xhr.upload.onprogress = ({ loaded, total }) => onProgress?.({ loaded, total });
    xhr.onload = () => {
      const body = parse(xhr.responseText);
      try {
        if (xhr.status > 299) throw refusal(xhr.status, body);
        done(accepted(body, xhr.getResponseHeader('Content-Type'), xhr.responseURL));
      } catch (e) {
        fail(e);
      }
    };
    xhr.onerror = () => fail(new TypeError('network error'));
    xhr.onabort = () => fail(signal?.reason);
    xhr.onloadend = () => signal?.removeEventListener('abort', abort);
    xhr.send(file);
  });
}
