import { RealtimeClient, RenClient } from '@maravilla-realtime/client';
import type { Channels, Events, Presences } from './types';

// Made once, outside of all components: these come and go, connections stay.
export const rt = new RealtimeClient<Channels, Presences>();
export const ren = new RenClient<Events>({ subscriptions: ['kv', 'board'] });
rt.connect();
