// As package tsgen makes it.
export type Channels = { 'room:{id}': { text: string } };
export type Presences = { 'room:{id}': { name: string } };
