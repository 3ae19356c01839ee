// What a page or worker makes of the SDK in the place {name}.
import { getOrCreateClientId, RealtimeClient, renFetch, RenClient, storageDelete, storageUpload } from '{app}sdk.js';

const path = '{name}';

/** All that goes to an address by default. */
async function work() {
  const ren = new RenClient();
  const rt = new RealtimeClient();
  rt.connect();
  await Promise.all([ren, rt].map((client) => new Promise((done) => client.onState((state) => state === 'open' && done()))));
  const id = getOrCreateClientId();
  const heard = new Promise((done) => ren.on(({ k, src }) => k === path && src === id && done()));
  await storageUpload(path, new Blob(['x']), globalThis.XMLHttpRequest && { onProgress() {} });
  await heard;
  await storageDelete(path);
  await rt.publish('room', { place: path });
  const learned = await (await renFetch('/id')).text();
  if (learned !== id) throw Error('the server was told ' + learned);
  return 'works as ' + id;
}

/** What is thrown where nothing can work. */
async function fail() {
  const errors = [];
  for (const attempt of [() => new RenClient(), () => new RealtimeClient(), () => storageUpload(path, new Blob(['x']))])
    try {
      await attempt();
    } catch (error) {
      errors.push(String(error));
    }
  return errors.join(', ');
}

(origin === 'null' ? fail() : work()).catch(String).then((what) => {
  const said = { name: path, what };
  if (origin !== 'null') new BroadcastChannel('said').postMessage(said);
  else if (globalThis.document) parent.postMessage(said, '*');
  else postMessage(said);
});
