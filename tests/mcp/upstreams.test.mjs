// Other people's servers: what a client gets of them through placet is what it gets of them directly.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { startGateway } from './lib/gateway.mjs';
import { UPSTREAMS } from './lib/installed.mjs';

const run = promisify(execFile);

/** Calls whose results depend on nothing but their arguments and the directory. `home` stands for that directory. */
const CALLS = {
  everything: () => [
    ['echo', { message: 'a "quoted" \u00e4 \u{1f600} line\nand another' }],
    ['get-sum', { a: 0.1, b: 2e3 }],
    ['get-tiny-image', {}],
    ['get-structured-content', { location: 'New York' }],
    ['get-annotated-message', { messageType: 'success', includeImage: true }],
    ['get-resource-links', { count: 2 }],
  ],
  files: (home) => [
    ['read_text_file', { path: join(home, 'a.txt') }],
    ['list_directory', { path: home }],
    ['get_file_info', { path: join(home, 'missing') }],
    ['write_file', { path: join(home, 'b.txt'), content: 'written\n' }],
    ['read_text_file', { path: join(home, 'b.txt') }],
  ],
  memory: () => [
    ['create_entities', { entities: [{ name: 'Ada', entityType: 'person', observations: ['counts'] }] }],
    ['read_graph', {}],
    ['search_nodes', { query: 'counts' }],
    ['delete_entities', { entityNames: ['Ada'] }],
  ],
  git: (home) => [
    ['git_status', { repo_path: home }],
    ['git_log', { repo_path: home, max_count: 3 }],
    ['git_show', { repo_path: home, revision: 'no-such-revision' }],
  ],
  fast: () => [
    ['add', { a: 2, b: 40 }],
    ['slowly', { text: 'in its own time' }],
  ],
  rust: () => [
    ['echo', { message: 'a "quoted" \u00e4 \u{1f600} line\nand another' }],
    ['get-sum', { a: 2, b: 40 }],
    ['test_multiple_content_types', {}],
    ['test_audio_content', {}],
    ['test_error_handling', {}],
  ],
};

for (const name of Object.keys(UPSTREAMS)) {
  test(`${name}: through placet as directly`, async (t) => {
    const home = await mkdtemp(join(tmpdir(), 'placet-upstream-'));
    t.after(() => rm(home, { recursive: true, force: true }));
    for (const file of ['a.txt', 'b.txt']) await writeFile(join(home, file), 'first\nsecond\n');
    if (name === 'git') await commit(home);
    const direct = await connect(t, stdio(UPSTREAMS[name](home)));
    const { tools } = await direct.listTools();
    const permitted = tools.map((tool) => `${name}/${tool.name}`);
    const gateway = await startGateway(t, { servers: [name], permitted, home });
    const through = await connect(t, http(gateway, name));

    const offered = (await through.listTools()).tools.filter((tool) => tool.name !== 'placet_await_approval');
    const byName = (one, other) => (one.name < other.name ? -1 : 1);
    // Whether a call may become a task is placet's to say, as the tasks are placet's own.
    const asTask = (tool) => ({ ...tool, execution: { ...tool.execution, taskSupport: 'optional' } });
    assert.deepEqual(offered.sort(byName), tools.map(asTask).sort(byName));
    const results = [];
    for (const client of [direct, through]) {
      results.push([]);
      for (const [tool, args] of CALLS[name](home)) results.at(-1).push(await client.callTool({ name: tool, arguments: args }));
    }
    assert.deepEqual(results[1], results[0]);
    assert.equal(await gateway.calls(name, ''), CALLS[name](home).length);
  });
}

test('a server that was started anew, and knows no session any more, is found again', async (t) => {
  const port = await freePort();
  await everything(t, port);
  const urls = { everything: `http://127.0.0.1:${port}/mcp` };
  const gateway = await startGateway(t, { urls, permitted: 'all' });
  const through = await connect(t, http(gateway, 'everything'));
  const echo = async (message) => (await through.callTool({ name: 'echo', arguments: { message } })).content[0].text;
  assert.equal(await echo('before'), 'Echo: before');
  await everything(t, port);
  let said;
  for (let tries = 0; tries < 60 && said !== 'Echo: after'; tries += 1) {
    said = await echo('after');
    assert.match(said, /^Echo: after$|^NOT EXECUTED\. |^The server refused the call: Bad Request/);
    if (said !== 'Echo: after') await sleep(500);
  }
  assert.equal(said, 'Echo: after');
});

let running;

/** Starts server-everything at this port, in place of the one that was there. Returns when it answers. */
async function everything(t, port) {
  running?.kill('SIGKILL');
  const [program, script] = UPSTREAMS.everything();
  const env = { PATH: process.env.PATH, PORT: String(port) };
  running = spawn(program, [script, 'streamableHttp'], { env, stdio: 'ignore' });
  const started = running;
  t.after(() => started.kill('SIGKILL'));
  for (let tries = 0; tries < 100; tries += 1) {
    if (await fetch(`http://127.0.0.1:${port}/mcp`).catch(() => undefined)) return;
    await sleep(100);
  }
  throw new Error('server-everything does not answer');
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function commit(home) {
  const options = { cwd: home, env: { PATH: process.env.PATH, HOME: home } };
  const who = ['-c', 'user.name=Ada', '-c', 'user.email=ada@example.test'];
  await run('git', ['init', '--quiet'], options);
  await run('git', ['add', '.'], options);
  await run('git', [...who, 'commit', '--quiet', '--message', 'First'], options);
}

function stdio([command, ...args]) {
  return new StdioClientTransport({ command, args, stderr: 'ignore' });
}

function http(gateway, name) {
  const requestInit = { headers: { authorization: `Bearer ${gateway.placet.token}` } };
  return new StreamableHTTPClientTransport(new URL(gateway.address(name)), { requestInit });
}

async function connect(t, transport) {
  const client = new Client({ name: 'upstreams', version: '1.0.0' });
  await client.connect(transport);
  t.after(() => client.close());
  return client;
}
