// Not of the board: what the hooks say where a server renders, and when a page takes over what it has rendered. The server
// has no clients; the page's are connected before it takes over. internal/test/browsertest builds it, and looks at the page.
import { useChannel, useConnectionStatus, usePresence, useRen } from '@maravilla-realtime/client/react';
import { StrictMode, type ReactNode } from 'react';
import { hydrateRoot } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import * as clients from '../src/clients';
import type { Channels } from '../src/types';

type Message = Channels['talk:{name}'];

const page: { faults: string[]; renders: string[]; publish: ((message: Message) => Promise<void>) | undefined } = {
  faults: [], renders: [], publish: undefined,
};
Object.assign(window, { page });

function Hooks({ rt, ren }: Partial<typeof clients>): ReactNode {
  const states = [useConnectionStatus(rt), useConnectionStatus(ren)];
  const { messages, publish } = useChannel(rt, 'talk:launch');
  const { members } = usePresence(rt, 'team:launch', { userId: 'ada', metadata: { name: 'Ada', status: 'free' } });
  const { version } = useRen(ren, ({ r }) => r === 'kv');
  page.publish = publish;
  const text = [...states, messages.length, members.length, version].join();
  page.renders.push(text);
  return <p>{text}</p>;
}

const strictly = (hooks: ReactNode): ReactNode => <StrictMode>{hooks}</StrictMode>;
const app = document.getElementById('app')!;
app.innerHTML = renderToString(strictly(<Hooks />));

const { rt, ren } = clients;
for (const client of [rt, ren]) if (client.state !== 'open') await new Promise<void>((done) => client.onState(() => done()));
hydrateRoot(app, strictly(<Hooks rt={rt} ren={ren} />), { onRecoverableError: (error) => page.faults.push(String(error)) });
