import { asError, fatal, parse, type RealtimeError } from './errors.js';
import { getOrCreateClientId } from './id.js';
import { resolve, sameOrigin } from './options.js';
import { noteRequest } from './start.js';

/**
 * `fetch` that says who asks: requests to the page's own origin carry the client id, so that the events they cause come
 * back with it as `src`. It also remembers the oldest `X-Ren-Cursor` answered, for the next {@link RenClient} to begin
 * there and miss nothing. Rejects as fetch does.
 */
export async function renFetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  const request = input instanceof Request ? input : undefined;
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  if (!base || !sameOrigin(new URL(request?.url ?? String(input), base))) return fetch(input, init);
  const headers = new Headers(init?.headers ?? request?.headers);
  headers.set('X-Ren-Client', getOrCreateClientId());
  const note = noteRequest();
  const answer = await fetch(input, { ...init, headers });
  note(answer.headers.get('X-Ren-Cursor'));
  return answer;
}

/** Options of {@link storageDelete}. */
export interface StorageOptions {
  /** Address of the storage handler. Default `/api/storage`. */
  endpoint?: string | undefined;
  /** Ends the request when aborted. */
  signal?: AbortSignal | undefined;
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
 * with a {@link RealtimeError} when refused, and as fetch does when the network fails or `signal` aborts.
 */
export async function storageUpload(path: string, file: Blob, options: UploadOptions = {}): Promise<StoredObject | undefined> {
  const url = address('upload', path, options);
  const headers: Record<string, string> = file.type ? { 'Content-Type': file.type } : {};
  if (options.onProgress && globalThis.XMLHttpRequest) return uploadByXHR(url, file, headers, options);
  return settle(await renFetch(url, { method: 'POST', body: file, headers, signal: options.signal ?? null }));
}

/** Deletes the file at `path`. Resolves and rejects as {@link storageUpload}. */
export async function storageDelete(path: string, options: StorageOptions = {}): Promise<void> {
  const url = address('delete', path, options);
  await settle(await renFetch(url, { method: 'DELETE', signal: options.signal ?? null }));
}

function address(verb: string, path: string, { endpoint = '/api/storage' }: StorageOptions): URL {
  return resolve(endpoint + '/' + verb + '?path=' + encodeURIComponent(path));
}

async function settle(answer: Response): Promise<StoredObject | undefined> {
  const text = await answer.text();
  if (!answer.ok) throw refusal(answer.status, text);
  return parse(text) as StoredObject | undefined;
}

/** The refusal in an answer, which a proxy may have written in place of the server. */
function refusal(status: number, body: string): RealtimeError {
  const retry = status === 429 || status > 499;
  const code = fatal[status] ?? { 404: 'not_found', 413: 'too_large', 429: 'rate_limited' }[status] ?? (retry ? 'unavailable' : 'bad_request');
  return asError({ retry, ...(parse(body) as object) }, code, 'HTTP ' + status);
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
    xhr.onload = () => (xhr.status < 300 ? done(parse(xhr.responseText) as StoredObject | undefined) : fail(refusal(xhr.status, xhr.responseText)));
    xhr.onerror = () => fail(new TypeError('network error'));
    xhr.onabort = () => fail(signal?.reason);
    xhr.onloadend = () => signal?.removeEventListener('abort', abort);
    xhr.send(file);
  });
}
