// The conformance suite of the Model Context Protocol: what passes of a server has to pass of the same server through
// placet, and placet has to pass as a client of servers and of their authorization servers, but for what `conformance.json`
// gives a reason for.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { gate } from './lib/delivery.mjs';
import { startGateway } from './lib/gateway.mjs';
import { CONFORMANCE, NODE, RUST, client, server as fixture } from './lib/installed.mjs';

/** The checks that end otherwise through placet, or that placet fails as a client, and why. */
const EXPECTED = JSON.parse(await readFile(new URL('conformance.json', import.meta.url), 'utf8'));

for (const revision of ['2025-11-25', '2026-07-28']) {
  test(`a server of ${revision} is the same through placet`, async (t) => {
    const differing = await compared(t, [NODE, fixture('reference.mjs')], revision);
    asExpected(differing, `server of ${revision}`, (check) => check);
  });

  test(`a server of ${revision} on the Rust SDK is the same through placet`, async (t) => {
    const differing = await compared(t, [`${RUST}/server`], revision);
    const other = unexplained(differing, `server of ${revision}`);
    asExpected(other, `server of ${revision} on the Rust SDK`, (check) => check);
  });
}

/** The checks that a server passes directly, and not through placet. */
async function compared(t, command, revision) {
  const reference = await startReference(t, command);
  const gateway = await startGateway(t, { urls: { reference }, permitted: 'all' });
  const address = await withToken(t, gateway.address('reference'), gateway.placet.token);
  const server = (url) => judged(t, ['server', '--url', url, '--suite', 'all', '--spec-version', revision]);
  const [direct, through] = [await server(reference), await server(address)];
  const differing = Object.keys({ ...direct, ...through }).filter((check) => passes(direct[check]) && !passes(through[check]));
  const passed = Object.values(through).filter(passes).length;
  t.diagnostic(`${passed} checks of ${Object.keys(direct).length} passed, ${differing.length} expected differences`);
  assert.ok(passed > differing.length, 'most of it is the same');
  return differing;
}

/** What a server with tasks is judged by. The tasks are placet's own: the server behind it has none. */
const TASKS = [
  'lifecycle',
  'capability-negotiation',
  'wire-fields',
  'request-state-removal',
  'mrtr-input',
  'request-headers',
  'dispatch-and-envelope',
  'status-notifications',
  'required-task-error',
  'mrtr-composition',
];

test('a call that waits for a person is a task as it should be', async (t) => {
  const reference = await startReference(t, [NODE, fixture('reference.mjs')]);
  const gateway = await startGateway(t, { urls: { reference }, permitted: ['reference/greet'] });
  const checks = {};
  for (const name of TASKS) {
    // An agent each: the same call by the same one would find what the last scenario asked for.
    const token = await gateway.addAgent(`tasks-${name}`);
    const address = await withToken(t, gateway.address('reference'), token);
    // Long enough to be cancelled meanwhile.
    const person = approving(gateway, token, 1500);
    Object.assign(checks, await judged(t, ['server', '--url', address, '--scenario', `tasks-${name}`]));
    person.stop();
  }
  const failing = Object.keys(checks).filter((check) => ['FAILURE', 'WARNING'].includes(checks[check]));
  t.diagnostic(`${Object.values(checks).filter(passes).length} checks passed, ${failing.length} expected differences`);
  asExpected(failing, 'tasks', (check) => `${check}: ${checks[check]}`);
});

/** Somebody who approves whatever of this agent's waits, a while after they saw it. */
function approving(gateway, token, after) {
  const seen = new Map();
  const looking = setInterval(async () => {
    for (const { id } of await gateway.pending(token)) {
      const since = seen.get(id) ?? performance.now();
      seen.set(id, since);
      // It may be cancelled at this very moment.
      if (performance.now() - since >= after) await gateway.reviewer.approve(id).catch(() => {});
    }
  }, 250);
  return { stop: () => clearInterval(looking) };
}

/** What a client is judged by that has no model of its own. */
const CLIENT_SCENARIOS = [
  ['initialize', '2025-11-25'],
  ['tools_call', '2025-11-25'],
  ['sse-retry', '2025-11-25'],
  ['json-schema-2020-12-preservation', '2025-11-25'],
  ['tools_call', '2026-07-28'],
  ['request-metadata', '2026-07-28'],
  ['http-standard-headers', '2026-07-28'],
  ['http-custom-headers', '2026-07-28'],
  ['json-schema-ref-no-deref', '2026-07-28'],
  ['json-schema-2020-12-preservation', '2026-07-28'],
];

/** What a client of authorization servers is judged by; those that begin with the older revision are judged in both. */
const AUTH_SCENARIOS = {
  '2025-11-25': ['metadata-default', 'basic-cimd', 'scope-step-up', 'scope-retry-limit', 'pre-registration'],
  '2026-07-28': [
    'metadata-default',
    'metadata-var1',
    'metadata-var2',
    'metadata-var3',
    'basic-cimd',
    'scope-from-www-authenticate',
    'scope-from-scopes-supported',
    'scope-omitted-when-undefined',
    'scope-step-up',
    'scope-retry-limit',
    'token-endpoint-auth-basic',
    'token-endpoint-auth-post',
    'token-endpoint-auth-none',
    'pre-registration',
    'resource-mismatch',
    'offline-access-scope',
    'offline-access-not-supported',
    'authorization-server-migration',
    'iss-supported',
    'iss-not-advertised',
    'iss-supported-missing',
    'iss-wrong-issuer',
    'iss-unexpected',
    'iss-normalized',
    'metadata-issuer-mismatch',
  ],
};
/** Of no revision: extensions of the protocol. */
const AUTH_EXTENSIONS = ['client-credentials-basic', 'client-credentials-jwt'];

test('to a server placet is a client as it should be', async (t) => {
  await judgedAsClient(t, 'client', CLIENT_SCENARIOS);
});

for (const [revision, names] of Object.entries(AUTH_SCENARIOS)) {
  test(`to an authorization server of ${revision} placet is a client as it should be`, async (t) => {
    await judgedAsClient(t, `authorization of ${revision}`, names.map((name) => [`auth/${name}`, revision]));
  });
}

test('placet gets tokens for its own credentials as it should', async (t) => {
  await judgedAsClient(t, 'authorization extensions', AUTH_EXTENSIONS.map((name) => [`auth/${name}`]));
});

async function judgedAsClient(t, where, scenarios) {
  const command = `${NODE} ${client('through-placet.mjs')}`;
  // Most of the time each waits for another process.
  const running = gate(3);
  const results = scenarios.map(([scenario, revision]) => {
    const of = revision ? ['--spec-version', revision] : [];
    return running(() => judged(t, ['client', '--command', command, '--scenario', scenario, ...of]));
  });
  const checks = {};
  for (const [check, status] of (await Promise.all(results)).flatMap(Object.entries)) {
    if (checks[check] !== 'FAILURE') checks[check] = status;
  }
  const ended = (...statuses) => Object.keys(checks).filter((check) => statuses.includes(checks[check]));
  const failing = ended('FAILURE', 'WARNING');
  t.diagnostic(`${ended('SUCCESS').length} checks passed, ${failing.length} expected differences`);
  asExpected(failing, where, (check) => `${check}: ${checks[check]}`);
}

/** INFO and SKIPPED tell how a check came about; a WARNING is a SHOULD that is not met. */
function passes(status) {
  return status === 'SUCCESS';
}

/** A line of the file means one check, a scenario, or all scenarios whose names begin so. */
function covers(line, check) {
  return check === line || check.startsWith(line.endsWith('*') ? line.slice(0, -1) : `${line}: `);
}

function unexplained(found, where) {
  const lines = Object.keys(EXPECTED[where] ?? {});
  return found.filter((check) => !lines.some((line) => covers(line, check)));
}

function asExpected(found, where, shown) {
  const lines = Object.keys(EXPECTED[where] ?? {});
  assert.deepEqual(unexplained(found, where).map(shown), [], 'nothing says why');
  const settled = lines.filter((line) => !found.some((check) => covers(line, check)));
  assert.deepEqual(settled, [], 'it is as it should be now: take the line out of conformance.json');
}

/** Each check of each scenario, and how it ended. */
async function judged(t, args) {
  const directory = await mkdtemp(join(tmpdir(), 'placet-conformance-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  // It ends with an error if anything fails: the checks tell more.
  const judge = spawn(NODE, [CONFORMANCE, ...args, '-o', directory], { cwd: directory, stdio: 'ignore' });
  await once(judge, 'close');
  const checks = {};
  for (const run of await runs(directory)) {
    const scenario = run.replace(/^(server|client)-/, '').replace(/-\d{4}-\d{2}-\d{2}T.*$/, '');
    for (const { id, status } of JSON.parse(await readFile(join(directory, run, 'checks.json'), 'utf8'))) {
      const name = `${scenario}: ${id}`;
      // One name may stand for several observations: the worst of them counts.
      if (checks[name] !== 'FAILURE') checks[name] = status;
    }
  }
  assert.ok(Object.keys(checks).length > 0, 'the suite ran');
  return checks;
}

/** Each run's directory; a scenario's name may have a directory of its own. */
async function runs(directory) {
  const files = await readdir(directory, { recursive: true });
  return files.filter((file) => basename(file) === 'checks.json').map(dirname);
}

async function startReference(t, [program, ...args]) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  return line;
}

/** The suite knows no tokens: a proxy that adds one, and puts placet's name where its own stands. */
async function withToken(t, address, token) {
  const target = new URL(address);
  const proxy = createServer((incoming, outgoing) => {
    const { method, headers } = incoming;
    const own = `localhost:${proxy.address().port}`;
    const meant = (value) => value?.replace('127.0.0.1', 'localhost').replace(own, target.host);
    const passed = request(target, {
      method,
      headers: {
        ...headers,
        host: meant(headers.host),
        ...(headers.origin && { origin: meant(headers.origin) }),
        authorization: `Bearer ${token}`,
      },
    });
    passed.on('response', (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
    });
    passed.on('error', () => outgoing.destroy());
    // A client that hangs up is one that hangs up.
    outgoing.on('close', () => passed.destroy());
    incoming.pipe(passed);
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  t.after(() => proxy.close());
  return `http://127.0.0.1:${proxy.address().port}/mcp`;
}
