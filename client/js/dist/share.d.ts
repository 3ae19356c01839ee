/**
 * Has the clients that are made from now on share their connections with the other tabs of the browser, where it can; see
 * the option `shareTabs`. The bundle `realtime.js` has called it.
 */
export declare function shareTabs(): void;
