// The client over the WebSockets that Node.js has: the package `ws`, and its own from version 22 on. They fail in other ways than
// those of browsers: `ws` throws what nobody listens for, and Node's own says `error` and no more. Real sockets, on loopback.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { RealtimeClient } from '../src/realtime.js';
import type { WebSocketMaker } from '../src/transport.js';

const [major] = process.versions.node.split('.').map(Number);
const makers: Record<string, WebSocketMaker> = { ws: WebSocket as never };
if (major! >= 22) makers["Node's own"] = globalThis.WebSocket as never; // undefined would fail

const patience = 50_000; // ms, for machines that are busy; a connection that counts as silent is given up after 60 s
const hello = JSON.stringify({ event: 'hello', src: 'T', cursor: 'c', limits: { message: 9999, rate: 30, burst: 60 } }); // short enough for a frame with one byte of length
const clientId = 'browserbrowser.tab1';
let open: (() => void)[] = [];

afterEach(() => {
  for (const close of open) close();
  open = [];
});

/** A server that greets everybody, on a port, or on a free one. */
async function greeter(port = 0): Promise<WebSocketServer> {
  const server = new WebSocketServer({ port, host: '127.0.0.1' });
  open.push(() => {
    for (const socket of server.clients) socket.terminate();
    server.close();
  });
  server.on('connection', (socket) => {
    socket.on('error', () => {});
    socket.on('message', () => socket.send(hello));
  });
  await once(server, 'listening');
  return server;
}

/** A server that does with each connection whatever it is told to. */
async function raw(serve: (socket: Socket) => void): Promise<Server> {
  const server = createServer((socket) => {
    open.push(() => socket.destroy());
    socket.on('error', () => {});
    serve(socket);
  });
  open.push(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** Agrees to a WebSocket, as RFC 6455 has it in section 4.2.2. */
function accept(socket: Socket, request: Buffer): void {
  const key = /Sec-WebSocket-Key: (\S+)/i.exec(String(request))![1]!;
  const hash = createHash('sha1').update(key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${hash}\r\nSec-WebSocket-Protocol: maravilla.realtime.v1\r\n\r\n`,
  );
}

const greeting = Buffer.concat([Buffer.from([0x81, hello.length]), Buffer.from(hello)]); // a text frame
const nonsense = Buffer.from([0x8f, 0]); // of an opcode that there is not

const portOf = (server: { address(): unknown }): number => (server.address() as AddressInfo).port;

function connect(port: number, Maker: WebSocketMaker): { rt: RealtimeClient; errors: unknown[] } {
  const rt = new RealtimeClient({ wsEndpoint: `http://127.0.0.1:${port}/`, clientId, WebSocket: Maker, maxBackoffMs: 500 });
  const errors: unknown[] = [];
  rt.onError((error) => void errors.push(error));
  rt.connect();
  open.push(() => rt.disconnect());
  return { rt, errors };
}

/** Waits until a client has reached a state. */
const reached = (rt: RealtimeClient, state: string): Promise<void> =>
  new Promise((done, fail) => {
    if (rt.state === state) return done();
    const timer = setTimeout(() => fail(new Error(`not ${state} in ${patience} ms`)), patience);
    rt.onState((now) => {
      if (now !== state) return;
      clearTimeout(timer);
      done();
    });
  });
/** Lets what is on its way come. */
const moment = (ms = 100): Promise<void> => new Promise((done) => void setTimeout(done, ms));

for (const [name, Maker] of Object.entries(makers)) {
  test(`${name}: a refused connection is tried again soon`, async () => {
    const first = await greeter();
    const port = portOf(first);
    first.close();
    await once(first, 'close');
    const { rt, errors } = connect(port, Maker);
    await moment();
    await greeter(port);
    await reached(rt, 'open');
    assert.deepEqual(errors, []);
  });

  for (const end of ['terminate', 'close'] as const)
    test(`${name}: a server that restarts is found again: ${end}`, async () => {
      const first = await greeter();
      const port = portOf(first);
      const { rt, errors } = connect(port, Maker);
      await reached(rt, 'open');
      const closed = once(first, 'close');
      first.close();
      for (const socket of first.clients) socket[end]();
      await reached(rt, 'connecting');
      await closed;
      await greeter(port);
      await reached(rt, 'open');
      assert.deepEqual(errors, []);
    });

  test(`${name}: a disconnect while it connects`, async () => {
    const server = await raw(() => {});
    const { rt } = connect(portOf(server), Maker);
    await once(server, 'connection');
    rt.disconnect();
    await moment();
    assert.equal(rt.state, 'closed');
    rt.connect();
    rt.disconnect(); // before there is a connection
    await moment();
  });

  test(`${name}: an answer that is no WebSocket is tried again`, async () => {
    let n = 0;
    const server = await raw((socket) =>
      socket.once('data', () => socket.end(['HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n', 'nonsense\r\n\r\n'][n++ % 2]!)));
    const { rt } = connect(portOf(server), Maker);
    while (n < 3) await once(server, 'connection', { signal: AbortSignal.timeout(patience) });
    assert.equal(rt.state, 'connecting');
  });

  test(`${name}: what fails after the end is nobody's`, async () => {
    const server = await raw((socket) =>
      socket.once('data', (request) => {
        accept(socket, request);
        socket.on('data', (frame) => (frame[0] === 0x88 ? socket.write(nonsense) : socket.write(greeting))); // a close, or the hello
      }),
    );
    const { rt } = connect(portOf(server), Maker);
    await reached(rt, 'open');
    rt.disconnect();
    await moment();
    assert.equal(rt.state, 'closed');
  });

  test(`${name}: a frame that breaks the protocol costs one connection`, async () => {
    let n = 0;
    const server = await raw((socket) =>
      socket.once('data', (request) => {
        accept(socket, request);
        socket.once('data', () => socket.write(n++ ? greeting : Buffer.concat([greeting, nonsense])));
      }),
    );
    const { rt } = connect(portOf(server), Maker);
    while (n < 2) await moment(20);
    await reached(rt, 'open');
  });

  test(`${name}: bytes instead of text, and a close of no known code, cost no more than a connection`, async () => {
    const server = await greeter();
    let n = 0;
    server.removeAllListeners('connection');
    server.on('connection', (socket) => {
      socket.on('error', () => {});
      socket.on('message', () => {
        if (n++) return socket.send(hello);
        socket.send(Buffer.from([0xff, 0, 10, 0xfe]));
        socket.send(Buffer.alloc(0));
        socket.close(4999, 'é'.repeat(60));
      });
    });
    const { rt, errors } = connect(portOf(server), Maker);
    await reached(rt, 'open');
    assert.ok(n > 1 && errors.every((error) => error instanceof Error), String(errors));
  });

  test(`${name}: an address that is none is told, and ends the client`, async () => {
    const rt = new RealtimeClient({ wsEndpoint: 'ftp://127.0.0.1/', clientId, WebSocket: Maker });
    const told: { code?: string }[] = [];
    rt.onError((error) => void told.push(error as { code?: string }));
    const waiting = rt.publish('a', 1);
    rt.connect();
    await assert.rejects(waiting, { code: 'bad_request' });
    assert.deepEqual([told.map(({ code }) => code), rt.state], [['bad_request'], 'closed']);
  });
}
