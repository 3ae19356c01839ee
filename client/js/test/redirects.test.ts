// A stream over Node's own fetch, which would give a redirect's target the headers of the request. Real sockets, on loopback.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, mock, test } from 'node:test';
import { RenClient } from '../src/ren.js';

let close: (() => void)[] = [];

afterEach(() => {
  for (const end of close) end();
  close = [];
  mock.restoreAll();
});

/** A server that answers with a status, and where to go; returns its address. */
async function serve(status: number, location?: string, asked?: (request: IncomingMessage) => void): Promise<string> {
  const server: Server = createServer((request, answer) => {
    asked?.(request);
    answer.writeHead(status, location === undefined ? {} : { Location: location }).end();
  });
  close.push(() => {
    server.close();
    server.closeAllConnections();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

for (const status of [301, 302, 303, 307, 308])
  test(`a stream that is redirected with ${status} is told of once, and gives nobody its id and token`, async () => {
    const told: unknown[] = [];
    const warned = new Promise<void>((done) => {
      mock.method(console, 'warn', (...what: unknown[]) => {
        told.push(what.join(' '));
        done();
      });
    });
    let elsewhere = 0;
    let twice: (() => void) | undefined;
    const again = new Promise<void>((done) => (twice = done));
    let asked = 0;
    const other = await serve(200, undefined, () => elsewhere++);
    const endpoint = await serve(status, other, () => ++asked > 1 && twice!());
    const ren = new RenClient({ endpoint, clientId: 'browserbrowser.tab1', getToken: () => 'T', maxBackoffMs: 500 });
    close.push(() => ren.close());
    await Promise.all([warned, again]);
    assert.deepEqual([told, elsewhere, ren.state], [['[ren] HTTP ' + status], 0, 'connecting']);
  });
