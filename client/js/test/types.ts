// What must compile, and what must not: checked by tsc, never run.
import { RealtimeClient, RenClient, storageUpload, type RealtimeClientOptions, type RenClientOptions, type UploadOptions } from '../src/index.js';

/** Under exactOptionalPropertyTypes, too, an option may be given as undefined. */
export function optional<T>(given: T | undefined): T | undefined {
  return given;
}

export const ren: RenClient = new RenClient({
  endpoint: optional('/ren'), subscriptions: optional(['kv']), onReset: optional(() => {}), clientId: optional('id'),
  autoReconnect: optional(true), maxBackoffMs: optional(1), debug: optional(true), getToken: optional(() => 'T'), onError: optional(() => {}),
  shareTabs: optional(false),
} satisfies Required<RenClientOptions>);

export const rt: RealtimeClient = new RealtimeClient({
  wsEndpoint: optional('/ws'), WebSocket: optional(WebSocket), onReset: optional(() => {}), clientId: optional('id'), autoReconnect: optional(true),
  maxBackoffMs: optional(1), debug: optional(true), getToken: optional(() => 'T'), onError: optional(() => {}), shareTabs: optional('user 1'),
} satisfies Required<RealtimeClientOptions>);

export const upload: Promise<unknown> = storageUpload('a', new Blob(), {
  endpoint: optional('/s'), signal: optional(new AbortController().signal), onProgress: optional(() => {}),
} satisfies Required<UploadOptions>);
