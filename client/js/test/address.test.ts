// What addresses are relative to, in pages and workers of every kind.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { renFetch, storageDelete, storageUpload } from '../src/http.js';
import { sameOrigin } from '../src/options.js';
import { RealtimeClient } from '../src/realtime.js';
import { RenClient } from '../src/ren.js';
import { begin, FakeSocket, requests, settle } from './fakes.js';

const globals = globalThis as unknown as Record<string, unknown>;

/** As if run where the platform says this. */
function at(origin: string | undefined, href: string | undefined, baseURI?: string): void {
  if (origin !== undefined) globals['origin'] = origin;
  if (href) globals['location'] = new URL(href);
  else delete globals['location'];
  if (baseURI) globals['document'] = { baseURI, hidden: false };
  else delete globals['document'];
}

beforeEach(() => {
  begin();
  delete globals['origin'];
});

/** Where the clients, an upload and a delete go to by default. */
async function go(options: { endpoint?: string; wsEndpoint?: string } = {}): Promise<string[]> {
  const ren = new RenClient(options);
  const rt = new RealtimeClient(options);
  rt.connect();
  void storageUpload('a', new Blob());
  void storageDelete('a');
  await settle();
  ren.close();
  rt.disconnect();
  return [...requests.map(({ input }) => String(input)).sort(), FakeSocket.last.url];
}

const places: Record<string, [origin: string | undefined, href: string, baseURI?: string]> = {
  'a page': ['https://app.example', 'https://app.example/a/b', 'https://app.example/a/b'],
  'a page whose <base> is foreign': ['https://app.example', 'https://app.example/a/b', 'https://cdn.example/'],
  'a page of an old browser': [undefined, 'https://app.example/a/b', 'https://app.example/a/b'],
  'a srcdoc frame': ['https://app.example', 'about:srcdoc', 'https://app.example/a/b'],
  'a srcdoc frame with a foreign <base>': ['https://app.example', 'about:srcdoc', 'https://cdn.example/'],
  'an about:blank frame': ['https://app.example', 'about:blank', 'https://app.example/a/b'],
  'a blob: page': ['https://app.example', 'blob:https://app.example/5b2a', 'blob:https://app.example/5b2a'],
  'a blob: worker': ['https://app.example', 'blob:https://app.example/5b2a'],
  'a worker': ['https://app.example', 'https://app.example/assets/worker.js'],
};

for (const [name, place] of Object.entries(places)) test(name + ' reaches its own server, which learns its client id', async () => {
  at(...place);
  assert.deepEqual(await go(), [
    'https://app.example/api/maravilla/ren', 'https://app.example/api/storage/delete?path=a', 'https://app.example/api/storage/upload?path=a',
    'wss://app.example/api/maravilla/realtime?auth=hello',
  ]);
  for (const { headers } of requests) assert.ok(headers.get('X-Ren-Client'));
  void renFetch('https://app.example/todos');
  assert.ok(requests.at(-1)!.headers.get('X-Ren-Client'));
  void renFetch('https://cdn.example/todos');
  assert.equal(requests.at(-1)!.headers.get('X-Ren-Client'), null);
});

test('what is relative to a page stays so', () => {
  at('https://app.example', 'https://app.example/a/b');
  void storageDelete('x', { endpoint: 'files' });
  assert.equal(String(requests[0]!.input), 'https://app.example/a/files/delete?path=x');
});

test('renFetch finds in a blob: worker what fetch does not', () => {
  at('https://app.example', 'blob:https://app.example/5b2a');
  void renFetch('/todos');
  assert.equal(String(requests[0]!.input), 'https://app.example/todos');
  assert.ok(requests[0]!.headers.get('X-Ren-Client'));
});

test('renFetch goes where fetch does, and gives fetch what it was given', () => {
  at('https://app.example', 'https://app.example/a/b', 'https://cdn.example/');
  void renFetch('todos');
  assert.deepEqual([requests[0]!.input, requests[0]!.headers.get('X-Ren-Client')], ['todos', null], 'a <base> moves fetch');
  at('https://app.example', 'about:srcdoc', 'https://app.example/a/b');
  void renFetch('todos');
  assert.equal(requests[1]!.input, 'todos');
  assert.ok(requests[1]!.headers.get('X-Ren-Client'));
});

const opaque: Record<string, [origin: string | undefined, href: string | undefined, baseURI?: string]> = {
  'a sandboxed frame': ['null', 'https://app.example/a/b', 'https://app.example/a/b'],
  'a sandboxed srcdoc frame': ['null', 'about:srcdoc', 'https://app.example/a/b'],
  'a file': ['null', 'file:///home/ada/index.html', 'file:///home/ada/index.html'],
  'a file, by its address': [undefined, 'file:///home/ada/index.html', 'file:///home/ada/index.html'],
  'a data: worker': ['null', 'data:text/javascript,1'],
  'Node': [undefined, undefined],
};

for (const [name, place] of Object.entries(opaque)) test(name + ' must say where the server is', async () => {
  at(...place);
  const says = (address: string) => ({ name: 'TypeError', message: `not absolute: ${address}` });
  assert.throws(() => new RenClient(), says('/api/maravilla/ren'));
  assert.throws(() => new RealtimeClient(), says('/api/maravilla/realtime'));
  await assert.rejects(storageUpload('a', new Blob()), says('/api/storage/upload?path=a'));
  await assert.rejects(storageDelete('a'), says('/api/storage/delete?path=a'));
  assert.equal(requests.length, 0);

  const ren = new RenClient({ endpoint: 'https://app.example/ren' });
  const rt = new RealtimeClient({ wsEndpoint: 'https://app.example/ws' });
  rt.connect();
  void storageDelete('a', { endpoint: 'https://app.example/files' });
  await settle();
  assert.deepEqual([...requests.map(({ input }) => String(input)), FakeSocket.last.url].sort(), [
    'https://app.example/files/delete?path=a', 'https://app.example/ren', 'wss://app.example/ws?auth=hello',
  ]);
  assert.equal(requests.find(({ input }) => String(input).includes('files'))!.headers.get('X-Ren-Client'), null);
  ren.close();
  rt.disconnect();
});

test('an opaque origin is nobody\'s own', () => {
  at('null', 'file:///home/ada/index.html');
  assert.equal(sameOrigin(new URL('file:///etc/passwd')), false);
  assert.equal(sameOrigin(new URL('data:,x')), false);
});
