// What the tests of modules that add to RealtimeClients have in common; importing it installs it.
import { afterEach, beforeEach, mock } from 'node:test';
import { RealtimeClient } from '../src/realtime.js';
import { begin, dice, FakeSocket, settle } from './fakes.js';

export const clientId = 'browserbrowser.tab1';
export let rt: RealtimeClient;
/** What was told to onError, as code and channel. */
export let errors: string[];

beforeEach(() => {
  begin();
  dice(0.5);
  errors = [];
});

afterEach(async () => {
  rt.disconnect();
  await settle();
  mock.restoreAll();
});

/** Makes the client. */
export function make(): void {
  rt = new RealtimeClient({ clientId });
  rt.onError((error) => void errors.push((error as { code?: string }).code + ' ' + (error as { channel?: string }).channel));
}

/** Makes the client, and has the server greet it. */
export async function connect(limits?: object): Promise<FakeSocket> {
  make();
  rt.connect();
  await settle();
  await FakeSocket.last.greet(limits && { limits });
  return FakeSocket.last;
}
