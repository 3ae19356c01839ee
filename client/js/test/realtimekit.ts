// The client that the tests of channels are about, and what it tells.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock } from 'node:test';
import type { RealtimeReset } from '../src/channel.js';
import { RealtimeClient, type RealtimeClientOptions } from '../src/realtime.js';
import { begin, dice, FakeSocket, pass, settle, type FakePage } from './fakes.js';

export const clientId = 'browserbrowser.tab1';
export let page: FakePage;
export let rt: RealtimeClient;
export let states: string[], errors: string[], resets: RealtimeReset[], unhandled: unknown[], reported: unknown[];
const noteUnhandled = (reason: unknown): void => void unhandled.push(reason);

beforeEach(() => {
  page = begin();
  dice(0.5);
  [states, errors, resets, unhandled, reported] = [[], [], [], [], []];
  mock.method(console, 'error', (e: unknown) => void reported.push(e));
  process.on('unhandledRejection', noteUnhandled);
});

afterEach(async () => {
  rt.disconnect();
  await settle();
  process.off('unhandledRejection', noteUnhandled);
  assert.deepEqual([unhandled, reported], [[], []]);
  mock.restoreAll();
});

/** A client that nobody listens to. */
export function makeUnheard(options: RealtimeClientOptions = {}): void {
  rt = new RealtimeClient({ clientId, ...options });
}

export function make(options: RealtimeClientOptions = {}): void {
  makeUnheard(options);
  rt.onState((state) => void states.push(state));
  rt.onError((error) => void errors.push((error as { code?: string } & Error).code ?? error.name));
  rt.onReset((reset) => void resets.push(reset));
}

/** A connected client. */
export async function connect(options: RealtimeClientOptions = {}, hello: object = {}): Promise<FakeSocket> {
  make(options);
  rt.connect();
  await settle();
  await FakeSocket.last.greet(hello);
  return FakeSocket.last;
}

/** The connection breaks, and the next one is greeted. */
export async function again(): Promise<FakeSocket> {
  await FakeSocket.last.drop();
  await pass(15_000);
  await FakeSocket.last.greet();
  return FakeSocket.last;
}

export const message = (channel: string, id: string, more: object = {}): object => ({ event: 'message', channel, data: id, ts: 1, id, ...more });
export const presence = (change: string, userId: string, metadata?: unknown): object => ({ event: 'presence.' + change, channel: 'room', userId, metadata, ts: 5, id: 'p' + userId });
export const state = (...members: object[]): object => ({ event: 'presence.state', channel: 'room', members, cursor: 'cs' });
export const member = (userId: string, metadata?: unknown): object => ({ userId, metadata, lastSeen: 1 });
export const list = (socket: FakeSocket): unknown[] => socket.sent.map(({ op, ref, channel }) => [op, ref, channel]);

/** How a promise ended: 'ok', a code, or '' while it has not. */
export function outcome(promise: Promise<void>): { is: string } {
  const end = { is: '' };
  promise.then(() => (end.is = 'ok'), (error: { code: string }) => (end.is = error.code));
  return end;
}

export const taken = (event: string, more: object = {}): object => ({ event, channel: 'room', code: 'forbidden', message: 'no', retry: false, ...more });
