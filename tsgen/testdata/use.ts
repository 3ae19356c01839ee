// What a page may do with golden.ts, and what it may not: compiled by TestTypeScriptUse, never run.
import { RealtimeClient, RenClient } from '@maravilla-realtime/client';
import type { Channels, Events, Presences } from './golden.js';

const rt = new RealtimeClient<Channels, Presences>();

rt.publish('org:acme:user:1', { type: 'x', text: 'hello' });
rt.publish('room:42', { type: 'chat', text: 'hello' });
rt.publish('room:42', { type: 'typing', until: 1 });
// @ts-expect-error: another type
rt.publish('room:42', { type: 'typing', text: 'hello' });
// @ts-expect-error: a type that is none
rt.publish('room:42', { type: 'other', text: 'hello' });
// @ts-expect-error: text is a string
rt.publish('room:42', { type: 'chat', text: 42 });
// @ts-expect-error: text is missing
rt.publish('room:42', { type: 'chat' });
// @ts-expect-error: one too many
rt.publish('room:42', { type: 'chat', text: 'hello', html: '' });
// @ts-expect-error: no such channel
rt.publish('rooms:42', { type: 'chat', text: 'hello' });
// @ts-expect-error: it has only presence
rt.publish('lobby', {});
// @ts-expect-error: not a status
rt.publish('status', 'ajar');
rt.publish('status', 'closed <&>');
// @ts-expect-error: a bare number would not be exact
rt.publish('basics', { ...({} as Channels['basics']), i64: 1 });

rt.subscribe('room:42', ({ data }) => {
  if (data.type === 'chat') data.text.trim();
  else data.until.toFixed();
  // @ts-expect-error: not before its type is known
  data.text;
});
rt.subscribe('lists', ({ data }) => {
  // @ts-expect-error: a nil slice is null
  data.Null.length;
  data.Null?.length;
  // @ts-expect-error: unknown
  data.Raw.anything;
});
rt.subscribe('optionals', ({ data }) => {
  // @ts-expect-error: it may be missing
  data.text.trim();
  data.slice?.length;
});
rt.subscribe('node', ({ data }) => data.children?.[0]?.children?.[0]?.value.toFixed());
rt.subscribe('maps', ({ data }) => {
  data.Status?.open?.toFixed();
  // @ts-expect-error: not a status
  data.Status?.ajar;
});

rt.presence('room:42').join('ada', { name: 'Ada' });
rt.presence('lobby').onJoin(({ metadata }) => metadata?.name.trim());
// @ts-expect-error: the name is a string
rt.presence('room:42').join('ada', { name: 42 });

new RenClient<Events>().on((event) => {
  if (event.t === 'job.done') event.data?.seconds.toFixed(event.k?.length);
  else if (event.t === 'kv.put') event.k.trim();
  else if (event.t === 'bell') event.data?.length;
  // @ts-expect-error: there is no such event
  else if (event.t === 'job.began') return;
  // @ts-expect-error: it has no data
  if (event.t === 'job.cancelled') event.data.seconds;
});
