import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { renFetch, storageDelete, storageUpload } from '../src/http.js';
import { begin, requests, serveFetch, settle, type FakePage } from './fakes.js';

/** The far end of one upload. */
class FakeXHR {
  static last: FakeXHR;
  upload: { onprogress?: (event: { loaded: number; total: number }) => void } = {};
  headers: Record<string, string> = {};
  status = 0;
  responseText = '';
  responseURL = '';
  type: string | null = null;
  method = '';
  url = '';
  onload?: () => void;
  onerror?: () => void;
  onabort?: () => void;
  onloadend?: () => void;

  constructor() {
    FakeXHR.last = this;
  }

  open(method: string, url: string): void {
    [this.method, this.url] = [method, url];
  }

  setRequestHeader(name: string, value: string): void {
    this.headers[name] = value;
  }

  getResponseHeader(): string | null {
    return this.type;
  }

  send(): void {}

  abort(): void {
    this.onabort?.();
    this.onloadend?.();
  }

  answer(status: number, text: string): void {
    [this.status, this.responseText] = [status, text];
    this.onload?.();
    this.onloadend?.();
  }
}

let page: FakePage;
const globals = globalThis as unknown as Record<string, unknown>;
const file = new Blob(['hello'], { type: 'image/png' });

beforeEach(() => {
  page = begin();
  globals['XMLHttpRequest'] = FakeXHR;
});

test('an upload is a POST of the file', async () => {
  const done = storageUpload('photos/ü &.png', file);
  const [request] = requests;
  assert.equal(request!.url.pathname, '/api/storage/upload');
  assert.equal(request!.url.searchParams.get('path'), 'photos/ü &.png');
  assert.deepEqual([request!.init.method, request!.init.body], ['POST', file]);
  assert.equal(request!.headers.get('Content-Type'), 'image/png');
  assert.ok(request!.headers.get('X-Ren-Client'));
  const stored = { path: 'photos/ü &.png', size: 5, version: '1', type: 'image/png' };
  await request!.answer(201, {}, JSON.stringify(stored));
  assert.deepEqual(await done, stored);
});

test('a delete, elsewhere', async () => {
  const done = storageDelete('a/b', { endpoint: '/files' });
  assert.equal(requests[0]!.url.pathname + requests[0]!.url.search, '/files/delete?path=a%2Fb');
  assert.equal(requests[0]!.init.method, 'DELETE');
  await requests[0]!.answer(204);
  assert.equal(await done, undefined);
});

test('a refusal says why', async () => {
  const refused = assert.rejects(storageUpload('../x', file), { name: 'RealtimeError', code: 'bad_name', message: 'no', retry: false });
  await requests[0]!.answer(400, {}, '{"code":"bad_name","message":"no","retry":false}');
  await refused;
  const missing = assert.rejects(storageDelete('x'), { code: 'not_found', retry: false });
  await requests[1]!.answer(404, {}, '<p>Not found');
  await missing;
  const proxy = assert.rejects(storageDelete('x'), { name: 'RealtimeError', code: 'unavailable', retry: true });
  await requests[2]!.answer(502, {}, '<p>Bad gateway');
  await proxy;
});

test('an upload with progress', async () => {
  const seen: unknown[] = [];
  const done = storageUpload('a', file, { onProgress: (progress) => void seen.push(progress) });
  const xhr = FakeXHR.last;
  assert.deepEqual([xhr.method, xhr.url, xhr.headers['Content-Type']], ['POST', 'https://app.example/api/storage/upload?path=a', 'image/png']);
  assert.match(xhr.headers['X-Ren-Client']!, /^[A-Za-z0-9._-]{16,64}$/);
  xhr.upload.onprogress!({ loaded: 2, total: 5 });
  xhr.answer(200, '');
  assert.equal(await done, undefined);
  assert.deepEqual(seen, [{ loaded: 2, total: 5 }]);
});

test('an upload with progress is refused, breaks, or is aborted', async () => {
  const upload = (signal?: AbortSignal): Promise<unknown> =>
    storageUpload('a', file, { onProgress: () => {}, ...(signal ? { signal } : {}) });
  const refused = assert.rejects(upload(), { code: 'too_large' });
  FakeXHR.last.answer(413, '');
  await refused;
  const broken = assert.rejects(upload(), TypeError);
  FakeXHR.last.onerror!();
  await broken;
  const abort = new AbortController();
  const aborted = assert.rejects(upload(abort.signal), { name: 'AbortError' });
  abort.abort();
  await aborted;
  await assert.rejects(upload(abort.signal), { name: 'AbortError' });
});

test('a page to log in at is no success', async () => {
  const type = 'Text/HTML; charset=utf-8';
  const refusal = { name: 'RealtimeError', code: 'unavailable', message: /https:\/\/app\.example\/login$/, retry: true };
  for (const send of [(): Promise<unknown> => storageUpload('a', file), (): Promise<unknown> => storageDelete('a')]) {
    serveFetch.with = (request) =>
      void request.respond(Object.defineProperty(new Response('<form>', { headers: { 'Content-Type': type } }), 'url', { value: 'https://app.example/login?next=a' }));
    await assert.rejects(send(), refusal);
  }
  const refused = assert.rejects(storageUpload('a', file, { onProgress: () => {} }), refusal);
  Object.assign(FakeXHR.last, { type, responseURL: 'https://app.example/login?next=a' });
  FakeXHR.last.answer(200, '<form>');
  await refused;
});

test('a foreign <base> gets neither the file nor the client id', () => {
  Object.assign(page.document, { baseURI: 'https://cdn.example/' });
  void storageUpload('a', file);
  void storageUpload('a', file, { onProgress: () => {} });
  for (const url of [String(requests[0]!.input), FakeXHR.last.url]) assert.equal(url, 'https://app.example/api/storage/upload?path=a');
  assert.ok(requests[0]!.headers.get('X-Ren-Client') && FakeXHR.last.headers['X-Ren-Client']);
});

test('a foreign storage does not learn the client id', () => {
  void storageDelete('a', { endpoint: 'https://other.example/s' });
  assert.equal(requests[0]!.headers.get('X-Ren-Client'), null);
  void storageUpload('a', file, { endpoint: 'https://other.example/s', onProgress: () => {} });
  assert.equal(FakeXHR.last.headers['X-Ren-Client'], undefined);
});

test('a bearer token goes where an upload or a delete goes', async () => {
  const getToken = async (): Promise<string> => 'T';
  for (const endpoint of ['/files', 'https://other.example/s']) {
    void storageUpload('a', file, { endpoint, getToken });
    void storageDelete('a', { endpoint, getToken });
    void storageUpload('a', file, { endpoint, getToken, onProgress: () => {} });
    await settle();
    assert.deepEqual(requests.splice(0).map(({ headers }) => headers.get('Authorization')), ['Bearer T', 'Bearer T']);
    assert.equal(FakeXHR.last.headers['Authorization'], 'Bearer T');
    assert.equal(FakeXHR.last.headers['Content-Type'], 'image/png');
    assert.equal(!!FakeXHR.last.headers['X-Ren-Client'], endpoint === '/files');
  }
});

test('without a token there is no header for it, and what getToken throws is the end', async () => {
  void storageUpload('a', file, { getToken: () => undefined });
  await settle();
  assert.equal(requests[0]!.headers.get('Authorization'), null);
  const error = new Error('no session');
  const getToken = (): never => {
    throw error;
  };
  const fails = (promise: Promise<unknown>): Promise<void> => assert.rejects(promise, error);
  await fails(storageUpload('a', file, { getToken, onProgress: () => {} }));
  await fails(storageDelete('a', { getToken }));
  await fails(renFetch('/todos', { getToken }));
  assert.equal(requests.length, 1);
});

for (const [what, tokens, sends, ends] of [
  ['one that gives another token', ['old', 'new'], ['Bearer old', 'Bearer new'], true],
  ['one that gives the same again', ['old', 'old'], ['Bearer old'], false],
  ['one that gives none', ['old', undefined], ['Bearer old', null], false],
  ['one that gives two that are refused', ['old', 'older', 'new'], ['Bearer old', 'Bearer older'], false],
] as const)
  for (const verb of ['upload', 'delete'] as const)
    test(`a token is refused: ${what} is asked once more, by ${verb}`, async () => {
      let n = 0;
      const getToken = (): string | undefined => tokens[n++];
      serveFetch.with = (request) => {
        const fresh = request.headers.get('Authorization') === 'Bearer new';
        void request.answer(fresh ? 200 : 401, {}, fresh ? '{"path":"a"}' : '{"code":"expired","message":"no","retry":false}');
      };
      const end = await (verb === 'upload' ? storageUpload('a', file, { getToken }) : storageDelete('a', { getToken })).then(() => true, ({ code }) => code as string);
      assert.deepEqual([end, requests.map(({ headers }) => headers.get('Authorization'))], [ends || 'expired', sends]);
      if (verb === 'upload') assert.ok(requests.every(({ init }) => init.body === file));
    });

test('what is refused for another reason, or without a token, is not sent again', async () => {
  for (const [status, getToken] of [[403, () => 'T'], [500, () => 'T'], [401, undefined]] as const) {
    requests.length = 0;
    serveFetch.with = (request) => void request.answer(status);
    await assert.rejects(storageUpload('a', file, { getToken }));
    assert.equal(requests.length, 1);
  }
});

test('renFetch gives the token to the own origin, and to nobody else', async () => {
  const getToken = (): string => 'T';
  void renFetch('/todos', { getToken, headers: { 'X-Own': '1' } });
  void renFetch('https://other.example/todos', { getToken, headers: { 'X-Own': '1' } });
  await settle();
  const [foreign, own] = requests; // which has not waited for a token
  assert.deepEqual([own!.headers.get('Authorization'), own!.headers.get('X-Own')], ['Bearer T', '1']);
  assert.deepEqual([foreign!.headers.get('Authorization'), foreign!.headers.get('X-Own'), foreign!.headers.get('X-Ren-Client')], [null, '1', null]);
  assert.ok(requests.every(({ init }) => !('getToken' in init)));
});

test('what carries the client id stays with the own origin, where the server redirects it', async () => {
  void renFetch('/todos');
  void renFetch('/todos', { mode: 'cors' });
  void renFetch(new Request('https://app.example/todos', { mode: 'no-cors' }));
  void storageUpload('a', file);
  void storageDelete('a');
  void renFetch('https://other.example/todos', { mode: 'no-cors' });
  await settle();
  assert.deepEqual(requests.filter(({ headers }) => headers.has('X-Ren-Client')).map(({ init }) => init.mode), Array(5).fill('same-origin'));
  assert.equal(requests.find(({ headers }) => !headers.has('X-Ren-Client'))!.init.mode, 'no-cors');
});

test('an aborted upload does not begin when its token comes', async () => {
  const abort = new AbortController();
  const getToken = async (): Promise<string> => {
    abort.abort();
    return 'T';
  };
  await assert.rejects(storageUpload('a', file, { getToken, signal: abort.signal, onProgress: () => {} }), { name: 'AbortError' });
});

test('a Request keeps its headers', async () => {
  void renFetch(new Request('https://app.example/todos', { headers: { 'X-Own': '1' } }));
  assert.deepEqual([requests[0]!.headers.get('X-Own'), !!requests[0]!.headers.get('X-Ren-Client')], ['1', true]);
});

/** As in jsdom, which has nothing of fetch: a test brings what it needs of it. */
function likeJsdom(fetch: (input: unknown, init?: RequestInit) => unknown): () => void {
  const names = ['Request', 'Response', 'Headers', 'fetch', 'XMLHttpRequest'];
  const kept = names.map((name) => globals[name]);
  for (const name of names) delete globals[name];
  globals['fetch'] = fetch;
  return () => names.forEach((name, i) => (globals[name] = kept[i]));
}

test('where there are no classes of fetch, and it is mocked with as little as it gets', async () => {
  const asked: [unknown, RequestInit | undefined][] = [];
  let answer: unknown;
  const restore = likeJsdom(async (input, init) => {
    asked.push([input, init]);
    return answer;
  });
  try {
    answer = { ok: true, json: async () => [1] };
    assert.deepEqual(await (await renFetch('/todos', { headers: { 'X-Own': '1' } })).json(), [1]);
    const headers = asked[0]![1]!.headers as Record<string, string>;
    assert.deepEqual([asked[0]![0], headers['X-Own'], typeof headers['X-Ren-Client']], ['/todos', '1', 'string']);
    await renFetch(new URL('https://app.example/todos'));
    answer = { ok: true, json: async () => ({ path: 'a' }) };
    assert.deepEqual(await storageUpload('a', file, { onProgress: () => {} }), { path: 'a' });
    answer = { ok: false, status: 413, json: async () => ({ code: 'too_large' }) };
    await assert.rejects(storageDelete('a'), { code: 'too_large' });
    answer = { ok: true };
    assert.equal(await storageDelete('a'), undefined);
    answer = undefined;
    assert.equal(await renFetch('/todos'), undefined);
    answer = { ok: true, headers: { 'X-Ren-Cursor': 'c1' } };
    assert.equal(await renFetch('/todos'), answer);
  } finally {
    restore();
  }
});

test('a getToken that never answers waits no longer than the request', async () => {
  const getToken = (): Promise<string> => new Promise(() => {});
  const asks = (signal: AbortSignal): Promise<unknown>[] => [
    storageUpload('a', file, { getToken, signal }), storageUpload('a', file, { getToken, signal, onProgress: () => {} }),
    storageDelete('a', { getToken, signal }), renFetch('/todos', { getToken, signal }),
    renFetch(new Request('https://app.example/todos', { signal }), { getToken }),
  ];
  const abort = new AbortController();
  const ends = [...asks(abort.signal), ...asks(AbortSignal.abort())].map((end) => assert.rejects(end, { name: 'AbortError' }));
  await settle();
  abort.abort();
  await Promise.all(ends);
  assert.equal(requests.length, 0);
});

test('renFetch keeps what the caller asked for', async () => {
  void renFetch(new Request('https://app.example/x', { method: 'PUT', headers: { A: '1' } }));
  void renFetch('/y', { method: 'POST', headers: { B: '2' }, body: 'b' });
  assert.equal(requests[0]!.headers.get('A'), '1');
  assert.equal(requests[1]!.headers.get('B'), '2');
  assert.equal(requests[1]!.init.method, 'POST');
  for (const request of requests) assert.match(request.headers.get('X-Ren-Client')!, /^[A-Za-z0-9._-]{16,64}$/);
});
