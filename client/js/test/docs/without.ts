// What the types must not promise to those who import less.
import { RealtimeClient, RenClient } from '@maravilla-realtime/client';

// @ts-expect-error: only with …/load
new RenClient().query({ load: () => 1 });
// @ts-expect-error: only with …/load
new RealtimeClient().subscribe('room', () => {}, { load: () => 1 });
// @ts-expect-error: only with …/history
new RealtimeClient().subscribe('room', () => {}, { rewind: 1 });
// @ts-expect-error: only with …/ephemeral
new RealtimeClient().publish('room', 1, { ephemeral: true });
// @ts-expect-error: only with …/history
new RealtimeClient().history('room');
// @ts-expect-error: only with …/every
new RealtimeClient().subscribe('room', () => {}, { every: 1 });
// @ts-expect-error: only with …/every
new RenClient({ every: 1 });
