// What a Go server serves as realtime.js.
import './history.js';
import { shareTabs } from './share.js';

export * from './index.js';
shareTabs();
