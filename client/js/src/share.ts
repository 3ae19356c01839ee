import { canShare } from './share/place.js';
import { shareSocket } from './share/socket.js';
import { shareStream } from './share/stream.js';
import { layer } from './transport.js';

/**
 * Has the clients that are made from now on share their connections with the other tabs of the browser, where it can; see
 * the option `shareTabs`. The bundle `realtime.js` has called it.
 */
export function shareTabs(): void {
  if (canShare()) Object.assign(layer, { stream: shareStream, socket: shareSocket });
}
