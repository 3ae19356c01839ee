/** What all events can have, and those of other kinds have not. */
export interface AnyRenEvent {
  /** Type. */
  t: string;
  /** Resource domain. */
  r: string;
  /** Key: KV key, document id, object path. */
  k?: string | undefined;
  /** Opaque version of what `k` names; never its value. */
  v?: string | undefined;
  /** When, in milliseconds since the Unix epoch. */
  ts?: number | undefined;
  /** Who caused it: the own client id, or a tag of another's. */
  src?: string | undefined;
  /** Namespace: KV namespace, DB collection. */
  ns?: string | undefined;
  /** Channel, of realtime and presence events. */
  ch?: string | undefined;
  /** Payload of a message; of a presence event `{metadata, reason?}`; absent where the grant is without data. */
  data?: unknown;
  /** User: the publisher of a message, the member of a presence event. */
  uid?: string | undefined;
}

/** A kind of event: what it has, and that it has nothing else, so that any member can be asked for before `t` is known. */
type Kind<Has extends Partial<AnyRenEvent>> = Has & {
  [Member in Exclude<keyof AnyRenEvent, keyof Has | 'ts' | 'src'>]?: undefined;
} & Pick<AnyRenEvent, 'ts' | 'src'>;

/** A write to a key-value store. */
export type KVEvent = Kind<{ t: 'kv.put' | 'kv.delete' | 'kv.expired'; r: 'kv'; ns: string; k: string; v?: string }>;

/** A write to a document of a collection. */
export type DocumentEvent = Kind<{
  t: 'db.document.created' | 'db.document.updated' | 'db.document.deleted'; r: 'db'; ns: string; k: string; v?: string;
}>;

/** A write to an object store. */
export type ObjectEvent = Kind<{
  t: 'storage.object.created' | 'storage.object.updated' | 'storage.object.deleted'; r: 'storage'; k: string; v?: string; ns?: string;
}>;

/** A message published to a channel. That of a stream has its id in `k`, and its state in `v`. */
export type MessageEvent = Kind<{ t: 'realtime.message'; r: 'realtime'; ch: string; k?: string; v?: string; data?: unknown; uid?: string }>;

/** Somebody's coming, change or going in a channel. */
export type PresenceEvent = Kind<{
  t: 'presence.join' | 'presence.update' | 'presence.leave'; r: 'presence'; ch: string; uid: string;
  data?: { metadata?: unknown; reason?: string };
}>;

/** Something that happened on the server: `t` tells what else is known. `Own` are events of one's own resources. */
export type RenEvent<Own extends AnyRenEvent = never> =
  | KVEvent | DocumentEvent | ObjectEvent | MessageEvent | PresenceEvent | (Own extends AnyRenEvent ? Kind<Own> : never);
