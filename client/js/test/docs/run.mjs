// Takes the code that has a name out of the documents, has tsc read it as the code of somebody who uses the package, and has
// what it makes of a store follow one. Needs lib.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { statusStore } from '@maravilla-realtime/client/stores';
import { compile } from 'svelte/compiler';
import { get } from 'svelte/store';
import { effectScope } from 'vue';
import { compileScript, parse } from 'vue/compiler-sfc';

const root = new URL('../../', import.meta.url);
const code = new URL('code/', import.meta.url);
const documents = { react: 'README.md', '.': '../../docs/frameworks.md', svelte: '../../docs/frameworks.md', vue: '../../docs/frameworks.md' };

/** What tsc is to read of a component; throws where its framework does not compile it. */
const script = {
  svelte(text, filename) {
    for (const generate of ['client', 'server']) assert.deepEqual(compile(text, { filename, generate }).warnings, []);
    return /<script lang="ts">(.*)<\/script>/s.exec(text)[1];
  },
  vue(text, filename) {
    const { descriptor, errors } = parse(text, { filename });
    assert.deepEqual(errors, []);
    return compileScript(descriptor, { id: filename, inlineTemplate: true }).content; // with what the template does
  },
};

/** The blocks of a section, by the name in their first line. */
function extract(directory, document) {
  const whole = readFileSync(new URL(document, root), 'utf8');
  const section = whole.split(/^## /m).find((part) => part.toLowerCase().startsWith(directory === '.' ? '# ' : directory));
  mkdirSync(new URL(directory, code), { recursive: true });
  return [...section.matchAll(/^```(\w+)\n(?:\/\/|<!--) ([\w.]+).*\n([^]*?)^```/gm)].map(([, language, name, text]) => {
    const file = `${directory}/${name.replace(/\.(svelte|vue)$/, '.ts')}`;
    writeFileSync(new URL(file, code), script[language]?.(text, name) ?? text);
    return name;
  });
}

rmSync(code, { recursive: true, force: true });
const found = Object.entries(documents).map(([directory, document]) => [directory, ...extract(directory, document)].join(' '));
assert.deepEqual(found, ['react Room.tsx', '. clients.ts', 'svelte stores.ts Room.svelte', 'vue stores.ts Room.vue']);

execFileSync('tsc', ['-p', fileURLToPath(new URL('.', import.meta.url))], { stdio: 'inherit' });

const { toReadable } = await import(new URL('js/code/svelte/stores.js', code));
const { useStore } = await import(new URL('js/code/vue/stores.js', code));

const { rt, ren } = await import(new URL('js/code/clients.js', code));
assert.deepEqual([rt, ren], [undefined, undefined], 'a server that renders has no clients');

const listeners = new Set();
const client = { state: 'connecting', onState: (cb) => (listeners.add(cb), () => listeners.delete(cb)) };
const become = (state) => {
  client.state = state;
  for (const cb of [...listeners]) cb(state);
};
const settled = () => new Promise((done) => setImmediate(done));

const seen = [];
const off = toReadable(statusStore(client)).subscribe((state) => seen.push(state));
become('open');
off();
await settled();
become('closed');
assert.deepEqual([seen.at(-1), listeners.size], ['open', 0]);
assert.equal(get(toReadable(statusStore(client))), 'closed');
await settled();

const scope = effectScope();
const state = scope.run(() => useStore(statusStore(client)));
assert.equal(state.value, 'closed');
become('open');
assert.equal(state.value, 'open');
scope.stop();
await settled();
assert.equal(listeners.size, 0);
