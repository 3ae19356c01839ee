// Follows a channel with the built browser SDK, and prints each message: node jitter.mjs realtime.js URL…, two clients for each URL.
import { pathToFileURL } from 'node:url';

const [, , sdk, ...bases] = process.argv;
const { RealtimeClient, RenClient } = await import(pathToFileURL(sdk).href);
const say = (kind, i, what) => console.log(JSON.stringify({ kind, client: i, ...what }));

bases.forEach((base, i) => {
  const onReset = (kind) => ({ reason }) => say(kind, i, { reset: reason });
  const ren = new RenClient({ endpoint: base + 'ren', subscriptions: ['realtime'], shareTabs: false, onReset: onReset('REN'), onError: () => {} });
  ren.onState((state) => say('REN', i, { state }));
  ren.on(({ data }) => say('REN', i, { note: data }));
  const rt = new RealtimeClient({ wsEndpoint: base + 'realtime', shareTabs: false, onReset: onReset('channels'), onError: () => {} });
  rt.onState((state) => say('channels', i, { state }));
  rt.subscribe('room', ({ data }) => say('channels', i, { note: data }));
  rt.connect();
});
process.stdin.on('end', () => process.exit()).resume();
