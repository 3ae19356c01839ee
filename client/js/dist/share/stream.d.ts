import type { OpenStream } from '../transport.js';
/**
 * Has the tabs share one stream: the one that leads reads it, the others hear from it. A tab joins only after the server
 * has greeted it on a stream of its own as the same user, with the same domains. Where the leader cannot tell what follows a
 * tab's cursor, the tab keeps its own stream for a while.
 */
export declare function shareStream(open: OpenStream, group: string): OpenStream;
