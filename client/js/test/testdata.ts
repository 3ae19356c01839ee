// The tables in testdata that the tests of all clients, and the Go server's, read.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * A file of testdata, found from the working directory or, where the bundle lies in the repository, from there.
 * @param elsewhere - where it is instead, if anywhere
 */
export function testdata<T>(name: string, elsewhere?: string): T {
  for (const start of [elsewhere ?? '', process.cwd(), import.meta.dirname]) {
    for (let dir = start; dir; dir = dirname(dir)) {
      try {
        return JSON.parse(readFileSync(dir.endsWith('.json') ? dir : join(dir, 'testdata', name), 'utf8')) as T;
      } catch (e) {
        if (!['ENOENT', 'ENOTDIR'].includes((e as NodeJS.ErrnoException).code ?? '')) throw e;
      }
      if (dir === dirname(dir)) break;
    }
  }
  throw new Error(`no testdata/${name} here or above`);
}
