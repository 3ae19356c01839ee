// What the tests of the golden frames have in common.
import { testdata } from './testdata.js';

/** What a frame means to a client, as scripts that are played below. */
interface Meaning {
  means?: { case: string; lines: string[] }[];
}

export interface Wire {
  ren: ({ name: string; frame: string; parsed: { event: string; id: string; data: unknown; retry?: number }[] } & Meaning)[];
  server: ({ name: string; frame: string } & Meaning)[];
  client: { name: string; frame: string }[];
  stream: { name: string; frame: string }[];
}

export const wire = testdata<Wire>('wire.json', process.env['REALTIME_WIRE']);

export const clientId = 'Zm9vYmFyYmF6cXV4.dGFi';
