// The TypeScript SDK, version 1: the revisions with `initialize` only.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { drive, target } from './driver.mjs';

/** `BINARY mcp stdio SERVER` instead of an address: placet as a server that the client starts itself. */
function transport() {
  if (target.url.startsWith('http')) {
    const requestInit = { headers: { authorization: `Bearer ${target.token}` } };
    return new StreamableHTTPClientTransport(new URL(target.url), { requestInit });
  }
  const [command, ...args] = JSON.parse(target.url);
  return new StdioClientTransport({ command, args, env: process.env, stderr: 'inherit' });
}

await drive(async () => {
  const client = new Client({ name: 'typescript-1', version: '1.0.0' });
  const options = target.seconds && { timeout: target.seconds * 1000 };
  await client.connect(transport());
  return {
    list: async () => (await client.listTools()).tools,
    call: (name, args) => client.callTool({ name, arguments: args }, undefined, options),
    close: () => client.close(),
  };
});
