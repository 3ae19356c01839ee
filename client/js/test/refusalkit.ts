// What the tests of refusals have in common; importing it installs it.
import { afterEach, beforeEach, mock } from 'node:test';
import { RealtimeClient, type RealtimeClientOptions } from '../src/realtime.js';
import { RenClient, type RenClientOptions } from '../src/ren.js';
import { begin, dice, settle, type FakePage } from './fakes.js';

export type Told = Error & { code?: string };

export const clientId = 'browserbrowser.tab1';
export let page: FakePage;
export let told: Told[];
export let close: (() => void)[]; // of the clients that are made

beforeEach(() => {
  page = begin();
  dice(0.5);
  [told, close] = [[], []];
});

afterEach(() => {
  for (const end of close) end();
  mock.restoreAll();
});

export const note = (error: Error): void => void told.push(error as Told);
export const codes = (): (string | undefined)[] => told.map(({ code, name }) => code ?? name);

export function realtime(options: RealtimeClientOptions = {}): RealtimeClient {
  const rt = new RealtimeClient({ clientId, ...options });
  rt.onError(note);
  close.push(() => rt.disconnect());
  return rt;
}

export async function ren(options: RenClientOptions = {}): Promise<RenClient> {
  const made = new RenClient({ clientId, ...options });
  made.onError(note); // after it was made, and heard nevertheless
  close.push(() => made.close());
  await settle();
  return made;
}

/** All that can be asked of a client. */
export function ask(rt: RealtimeClient): { name: string; is: string }[] {
  const presence = rt.presence('room');
  const asked = { publish: rt.publish('room', 1), join: presence.join('ada'), update: presence.update(1), leave: presence.leave() };
  return Object.entries(asked).map(([name, promise]) => {
    const end = { name, is: 'waits' };
    promise.then(() => (end.is = 'ok'), (error: Told) => (end.is = error.code ?? error.name));
    return end;
  });
}

export const settled = (ends: { is: string }[]): boolean => ends.every(({ is }) => is !== 'waits');
