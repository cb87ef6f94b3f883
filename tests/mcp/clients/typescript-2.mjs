// The TypeScript SDK, version 2. As it comes it opens with `initialize`; with `auto` it speaks 2026-07-28 where it can.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { drive, target } from './driver.mjs';

const mode = process.argv[3] ?? 'legacy';

await drive(async () => {
  const client = new Client({ name: 'typescript-2', version: '1.0.0' }, { versionNegotiation: { mode } });
  const requestInit = { headers: { authorization: `Bearer ${target.token}` } };
  const options = target.seconds && { timeout: target.seconds * 1000 };
  await client.connect(new StreamableHTTPClientTransport(new URL(target.url), { requestInit }));
  return {
    list: async () => (await client.listTools()).tools,
    call: (name, args) => client.callTool({ name, arguments: args }, options),
    close: () => client.close(),
  };
});
