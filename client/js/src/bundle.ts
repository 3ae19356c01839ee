// What a Go server serves as realtime.js.
import './ephemeral.js';
import './every.js';
import './history.js';
import { enableLoad } from './load.js';
import { shareTabs } from './share.js';
import './stream.js';

export * from './index.js';
shareTabs();
enableLoad();
