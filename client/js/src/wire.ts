import type { Member } from './member.js';

/** How fast and how large a server lets a client speak; see the hello in docs/protocol.md. */
export interface Limits {
  message: number;
  rate: number;
  burst: number;
}

/** Whatever a server says on a WebSocket; docs/protocol.md tells what stands where. */
export interface Frame {
  event: string;
  ref?: number;
  channel?: string;
  id?: string;
  cursor?: string;
  state?: string;
  reason?: string;
  from?: string;
  src?: string;
  userId?: string;
  metadata?: unknown;
  ts?: number;
  limits?: Limits;
  members?: Member[];
  /** Which part of a roster, from 1 on; the first one has none. */
  part?: number;
  /** Another part follows. */
  more?: boolean;
  retryMs?: number;
  expiresIn?: number;
  code?: string;
  retry?: boolean;
  /** Of a message that grows, whose id is `id`: which run of it that is, and what it is made of from `offset` to `next`. */
  run?: string;
  offset?: number;
  next?: number;
  text?: string;
  items?: unknown[];
  /** What it was made of is gone, or some of it. */
  partial?: boolean;
  error?: { code?: string; message?: string; retry?: boolean };
}
