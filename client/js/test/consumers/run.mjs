// Has the oldest and the newest TypeScript that are supported read an app that uses the package as npm has it, in each way to
// resolve modules that README.md names, and Node load it. Needs lib, and ci/typescripts.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('../../', import.meta.url);
const code = new URL('code/', import.meta.url);
const path = (name, from = code) => fileURLToPath(new URL(name, from));

/** Puts the package, and what its types need, where an app has them. */
function install() {
  rmSync(code, { recursive: true, force: true });
  for (const scope of ['@maravilla-realtime', '@tanstack', '@types']) mkdirSync(path(`node_modules/${scope}`), { recursive: true });
  const pack = ['pack', '--ignore-scripts', '--silent', '--pack-destination', path('.')];
  const tarball = execFileSync('npm', pack, { cwd: root, encoding: 'utf8' }).trim();
  execFileSync('tar', ['-xzf', tarball], { cwd: code });
  execFileSync('mv', ['package', 'node_modules/@maravilla-realtime/client'], { cwd: code });
  for (const name of ['react', 'swr', 'csstype', 'undici-types', '@tanstack/query-core', '@types/react', '@types/node'])
    symlinkSync(path(`node_modules/${name}`, root), path(`node_modules/${name}`));
}

/** The files of an app: in a package of ES modules and in one of CommonJS, and each kind in the other one. */
const files = ['esm/a.ts', 'cjs/b.mts', 'cjs/a.ts', 'esm/c.cts'];
const modules = files.slice(0, 2);

function write() {
  for (const [directory, type] of [['esm', 'module'], ['cjs', 'commonjs']]) {
    mkdirSync(path(directory));
    writeFileSync(path(`${directory}/package.json`), JSON.stringify({ type }));
  }
  for (const file of files) copyFileSync(path('app.ts', import.meta.url), path(file));
}

const compilers = { '5.0': path('ci/typescripts/node_modules/typescript/lib/tsc.js', new URL('../../', root)), newest: path('node_modules/typescript/bin/tsc', root) };

/** Compiles, and gives the errors: the file, if any, and the code of each. */
function compile(version, options, ...given) {
  const common = {
    target: 'es2022', lib: ['es2022', 'dom', 'dom.iterable'], types: [], strict: true, exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true, skipLibCheck: false, skipDefaultLibCheck: true, noEmit: true,
  };
  writeFileSync(path('tsconfig.json'), JSON.stringify({ compilerOptions: { ...common, ...options }, files: given }));
  try {
    execFileSync(process.execPath, [compilers[version], '--pretty', 'false', '-p', path('.')], { cwd: code, encoding: 'utf8' });
  } catch ({ stdout }) {
    const errors = stdout.match(/^\S.*error TS\d+/gm)?.map((line) => line.replace(/\(.*error/, '')) ?? [stdout];
    return [...new Set(errors)].sort();
  }
  return [];
}

const noRequire = ['cjs/a.ts TS1479', 'esm/c.cts TS1479']; // of an ES module
const node = (name) => ({ module: name, moduleResolution: name });
const bundler = { module: 'esnext', moduleResolution: 'bundler', verbatimModuleSyntax: true };

install();
write();
for (const [version, options, given, errors] of [
  ['5.0', { module: 'commonjs', moduleResolution: 'node10' }, ['cjs/a.ts'], []],
  ['5.0', node('nodenext'), files, noRequire],
  ['5.0', bundler, ['esm/a.ts'], []],
  ['newest', { ...node('node16'), verbatimModuleSyntax: true }, modules, []],
  ['newest', node('node16'), files, noRequire],
  ['newest', node('nodenext'), files, []],
  ['newest', bundler, ['esm/a.ts'], []],
  ['newest', { module: 'commonjs', moduleResolution: 'bundler' }, ['cjs/a.ts'], []],
  ['newest', { ...node('nodenext'), lib: ['es2022'], types: ['node'] }, modules, []],
  ['newest', { ...bundler, lib: ['es2022', 'webworker', 'webworker.iterable'] }, ['esm/a.ts'], []],
]) assert.deepEqual(compile(version, options, ...given), errors, `TypeScript ${version}, ${JSON.stringify(options)}`);

const { exports } = JSON.parse(readFileSync(path('node_modules/@maravilla-realtime/client/package.json')));
const names = Object.keys(exports).filter((name) => !name.endsWith('.json') && name !== './react');
const loads = (how) => names.map((name) => how(`@maravilla-realtime/client${name.slice(1)}`)).join('\n');
writeFileSync(path('esm/load.js'), loads((name) => `import '${name}';`));
writeFileSync(path('cjs/load.js'), loads((name) => `require('${name}');`));
execFileSync(process.execPath, [path('esm/load.js')], { stdio: 'inherit' });
if (process.features.require_module) execFileSync(process.execPath, ['--no-warnings', path('cjs/load.js')], { stdio: 'inherit' });
