import { shareSocket } from './share/socket.js';
import { shareStream } from './share/stream.js';
import { layer } from './transport.js';

/**
 * Has the clients that are made from now on share their connections with the other tabs of the browser, where it can; see
 * the option `shareTabs`. The bundle `realtime.js` has called it.
 */
export function shareTabs(): void {
  if (layer.socket) return; // they do
  try {
    // Outside of browsers there is no such name, and outside of secure contexts there are no locks.
    if (!isSecureContext || !navigator.locks) return;
    new BroadcastChannel('').close(); // Firefox throws where storage is forbidden
  } catch {
    return;
  }
  const { stream } = layer; // that of another module decides the address, by which is shared
  layer.stream = (open, options) => {
    const shared = shareStream(open, options);
    return stream?.(shared, options) ?? shared;
  };
  layer.socket = shareSocket;
}
