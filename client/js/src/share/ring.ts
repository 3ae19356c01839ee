/** What a leader keeps for the tabs that come later: so many of the last entries, and so many UTF-16 units of their text. */
export interface Ring<Entry> {
  readonly entries_: Entry[];
  /** @param room - for how much text there is room */
  add_(entry: Entry, size: number, room?: number): void;
}

export function createRing<Entry>(): Ring<Entry> {
  const most = 1_000;

  const entries: Entry[] = [];
  const sizes: number[] = [];
  let all = 0;
  return {
    entries_: entries,
    add_(entry, size, room = 4 << 20) {
      entries.push(entry);
      sizes.push(size);
      for (all += size; entries.length > most || (all > room && entries.length > 1); all -= sizes.shift()!) entries.shift();
    },
  };
}
