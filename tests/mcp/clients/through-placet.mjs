// The conformance suite's idea of a client: a placet of its own in front of the suite's server, which is what is judged,
// and somebody who uses everything that the server offers through it. The address is the last word.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { startGateway } from '../lib/gateway.mjs';

const closing = [];
const gateway = await startGateway({ after: (close) => closing.unshift(close) }, {
  urls: { scenario: process.argv.at(-1) },
  permitted: 'all',
});
const client = new Client({ name: 'through-placet', version: '1.0.0' }, { versionNegotiation: { mode: 'auto' } });
const requestInit = { headers: { authorization: `Bearer ${gateway.placet.token}` } };
await client.connect(new StreamableHTTPClientTransport(new URL(gateway.address('scenario')), { requestInit }));

const { toolCalls } = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const { tools } = await client.listTools();
const known = tools.filter(({ name }) => !name.startsWith('placet_'));
const calls = toolCalls ?? known.map(({ name, inputSchema }) => ({ name, arguments: sample(inputSchema, known) }));
for (const call of calls) await client.callTool(call).catch((error) => console.error(error.message));
for (const [list, use] of [
  [() => client.listResources(), ({ resources }) => client.readResource({ uri: resources[0].uri })],
  [() => client.listPrompts(), ({ prompts }) => client.getPrompt({ name: prompts[0].name })],
]) {
  await list()
    .then(use)
    .catch((error) => console.error(error.message));
}
await client.close();
for (const close of closing) await close();

/** Arguments that fit a schema, as far as the suite's schemas go. */
function sample({ type, properties = {}, required = [] }, tools) {
  if (type === 'number' || type === 'integer') return 1;
  if (type === 'string') return 'text';
  if (type === 'boolean') return true;
  const names = required.length > 0 ? required : Object.keys(properties);
  // One scenario wants to see a schema again that it sent.
  const of = (name) => (name === 'schema' ? tools[0].inputSchema : sample(properties[name] ?? {}, tools));
  return Object.fromEntries(names.map((name) => [name, of(name)]));
}
