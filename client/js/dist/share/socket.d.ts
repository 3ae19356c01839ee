import { type OpenSocket } from '../transport.js';
/**
 * Has the tabs share one WebSocket: the one that leads has it, and speaks for the others. A tab joins only after the server
 * has greeted it on a connection of its own as the same user.
 */
export declare function shareSocket(open: OpenSocket, group: string): OpenSocket;
