// The conformance suite's idea of a client: a placet of its own in front of the suite's server, which is what is judged,
// and somebody who uses everything that the server offers through it. The address is the last word.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { startGateway } from '../lib/gateway.mjs';
import { loggedIn } from '../lib/login.mjs';

const scenario = process.env.MCP_CONFORMANCE_SCENARIO ?? '';
const { toolCalls, client_id: id, client_secret: secret } = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const address = process.argv.at(-1);
const closing = [];

try {
  await use();
} catch (error) {
  // Some scenarios want nothing else.
  console.error(error.message);
  process.exitCode = 1;
} finally {
  for (const close of closing) await close();
}

async function use() {
  const gateway = await startGateway({ after: (close) => closing.unshift(close) }, {
    urls: { scenario: address },
    permitted: 'all',
    secrets: secret && { client: secret },
    oauth: scenario.startsWith('auth/') ? await oauth() : undefined,
  });
  const client = new Client({ name: 'through-placet', version: '1.0.0' }, { versionNegotiation: { mode: 'auto' } });
  const requestInit = { headers: { authorization: `Bearer ${gateway.placet.token}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(gateway.address('scenario')), { requestInit }));

  const { tools } = await client.listTools();
  const known = tools.filter(({ name }) => !name.startsWith('placet_'));
  const calls = toolCalls ?? known.map(({ name, inputSchema }) => ({ name, arguments: sample(inputSchema, known) }));
  const use = (call) => client.callTool(call).catch((error) => console.error(error.message));
  for (const call of calls) await loggedIn(gateway.placet, 'scenario', () => use(call));
  for (const [list, use] of [
    [() => client.listResources(), ({ resources }) => client.readResource({ uri: resources[0].uri })],
    [() => client.listPrompts(), ({ prompts }) => client.getPrompt({ name: prompts[0].name })],
  ]) {
    await list()
      .then(use)
      .catch((error) => console.error(error.message));
  }
  await client.close();
}

/** What an operator says of a server that wants tokens: who placet is there, if it is somebody already. */
async function oauth() {
  if (scenario === 'auth/basic-cimd') return ['--oauth', '--client-id', 'https://conformance-test.local/client-metadata.json'];
  if (!id) return ['--oauth'];
  const { origin, pathname } = new URL(address);
  const metadata = await fetch(`${origin}/.well-known/oauth-protected-resource${pathname}`);
  const [issuer] = (await metadata.json()).authorization_servers;
  const unattended = scenario.startsWith('auth/client-credentials') ? ['--unattended'] : [];
  return ['--oauth', '--issuer', issuer, '--client-id', id, '--client-secret-from', 'client', ...unattended];
}

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
