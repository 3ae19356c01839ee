// What the tests of shared connections have in common; importing it installs it.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock } from 'node:test';
import { RealtimeClient, type RealtimeClientOptions } from '../src/realtime.js';
import { RenClient, type RenClientOptions } from '../src/ren.js';
import { shareTabs } from '../src/share.js';
import { layer } from '../src/transport.js';
import { begin, dice, FakeSocket, pass, settle } from './fakes.js';
import { Server } from './server.js';
import { installTabs, locks, Tab } from './tabs.js';

/** Without what tabs share. */
export const direct = { stream: layer.stream, socket: layer.socket };
export let server: Server;
let reported: unknown[];
export let all: { tab: Tab; close(): void }[];

beforeEach(() => {
  begin();
  dice(0.5);
  installTabs();
  server = new Server();
  server.install();
  shareTabs();
  [reported, all] = [[], []];
  mock.method(console, 'error', (...e: unknown[]) => void reported.push(e));
});

afterEach(async () => {
  for (const one of all) if (!one.tab.dead) one.tab.run(() => one.close());
  await pass(10_000);
  assert.deepEqual([server.streams().length, server.sockets().length], [0, 0]);
  assert.deepEqual(locks.queue.map(({ name }) => name), [], 'locks that are held without a client');
  mock.restoreAll();
  Object.assign(layer, direct);
  assert.deepEqual([reported, FakeSocket.late], [[], []]);
});

export interface RenTab {
  tab: Tab;
  ren: RenClient;
  got: unknown[];
  own: unknown[];
  states: string[];
  resets: number;
  close(): void;
}

/** Waits until a client is connected, or nothing more changes. */
export async function opened(state: () => string): Promise<void> {
  await settle();
  for (let i = 0; i < 80 && state() !== 'open'; i++) await pass(250);
  await settle();
}

/** A tab that follows REN. */
export async function openRen(name: string, options: RenClientOptions = {}, wait = true): Promise<RenTab> {
  const tab = new Tab();
  const made: RenTab = { tab, ren: undefined!, got: [], own: [], states: [], resets: 0, close: () => made.ren.close() };
  all.push(made);
  tab.run(() => {
    made.ren = new RenClient({ clientId: 'client-of-tab-' + name, ...options });
    made.ren.on(({ data, src }) => {
      made.got.push(data);
      if (src === made.ren.getClientId()) made.own.push(data);
    });
    made.ren.onState((state) => void made.states.push(state));
    made.ren.onReset(() => made.resets++);
  });
  if (wait) await opened(() => made.ren.state);
  return made;
}

export interface RtTab {
  tab: Tab;
  rt: RealtimeClient;
  got: unknown[];
  own: unknown[];
  errors: unknown[];
  close(): void;
}

/** A tab that is subscribed to channels. */
export async function openRt(name: string, options: RealtimeClientOptions = {}, channels = ['room']): Promise<RtTab> {
  const tab = new Tab();
  const made: RtTab = { tab, rt: undefined!, got: [], own: [], errors: [], close: () => made.rt.disconnect() };
  all.push(made);
  tab.run(() => {
    made.rt = new RealtimeClient({ clientId: 'client-of-tab-' + name, ...options });
    made.rt.onError((e) => void made.errors.push((e as { code?: string }).code));
    for (const channel of channels)
      made.rt.subscribe(channel, ({ data, from }) => {
        made.got.push(data);
        if (from === made.rt.getClientId()) made.own.push(data);
      });
    made.rt.connect();
  });
  await opened(() => made.rt.state);
  return made;
}

export const count = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
