import { shareSocket } from './share/socket.js';
import { shareStream } from './share/stream.js';
import { layer } from './transport.js';

/**
 * Has the clients that are made from now on share their connections with the other tabs of the browser, where it can; see
 * the option `shareTabs`. The bundle `realtime.js` has called it.
 */
export function shareTabs(): void {
  try {
    // Outside of browsers there is no such name, and outside of secure contexts there are no locks.
    if (!isSecureContext || !navigator.locks) return;
    new BroadcastChannel('').close(); // Firefox throws where storage is forbidden
  } catch {
    return;
  }
  Object.assign(layer, { stream: shareStream, socket: shareSocket });
}
