/**
 * `fetch` that says who asks: requests to the page's own origin carry the client id, so that the events they cause come
 * back with it as `src`. It also remembers the oldest `X-Ren-Cursor` answered, for the next {@link RenClient} to begin
 * there and miss nothing. Rejects as fetch does.
 */
export declare function renFetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
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
    onProgress?: ((progress: {
        loaded: number;
        total: number;
    }) => void) | undefined;
}
/**
 * Uploads a file to `path`. Resolves with the server's JSON, or undefined where it sends none. Rejects with a
 * {@link RealtimeError} when refused, and as fetch does when the network fails or `signal` aborts.
 */
export declare function storageUpload(path: string, file: Blob, options?: UploadOptions): Promise<unknown>;
/** Deletes the file at `path`. Resolves and rejects as {@link storageUpload}. */
export declare function storageDelete(path: string, options?: StorageOptions): Promise<unknown>;
