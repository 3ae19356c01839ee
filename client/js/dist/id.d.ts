/**
 * The client id of this tab: a part the tabs of a browser share (localStorage), a dot, and a part of the tab's own, which
 * survives a reload (sessionStorage) but is not copied when the tab is duplicated. 49 characters of `[a-v0-9.]`, random.
 * Where storage is missing or forbidden, it lasts as long as the page.
 */
export declare function getOrCreateClientId(): string;
/** 24 random characters, 120 bits. */
export declare function random(): string;
type Area = 'localStorage' | 'sessionStorage';
/** What is stored; undefined where nothing is, or nothing may be read. */
export declare function read(area: Area, key: string): string | undefined;
export {};
