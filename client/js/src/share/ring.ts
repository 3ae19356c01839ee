/** What a leader keeps for the tabs that come later: so many of the last entries, and so many UTF-16 units of text. */
export interface Ring<Entry> {
  readonly entries_: Entry[];
  push_(entry: Entry, size: number): void;
}

const enum Most {
  Entries = 1_000,
  /** UTF-16 units. */
  Text = 4_194_304,
}

export function createRing<Entry>(): Ring<Entry> {
  const entries: Entry[] = [];
  const sizes: number[] = [];
  let all = 0;
  return {
    entries_: entries,
    push_(entry, size) {
      entries.push(entry);
      sizes.push(size);
      for (all += size; entries.length > Most.Entries || (all > Most.Text && entries.length > 1); all -= sizes.shift()!) entries.shift();
    },
  };
}
