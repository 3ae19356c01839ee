/** What a leader keeps for the tabs that come later: so many of the last entries, and so many UTF-16 units of text. */
export interface Ring<Entry> {
    readonly entries: Entry[];
    push(entry: Entry, size: number): void;
}
export declare function createRing<Entry>(): Ring<Entry>;
