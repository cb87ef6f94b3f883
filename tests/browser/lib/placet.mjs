// The real binary, one per test: its own directory, its own ports, stopped the way an operator stops it.
// Speaks the agents' door as any agent would, and the command line as its operator.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const BINARY = process.env.PLACET_BIN ?? fileURLToPath(new URL('../../../target/debug/placet', import.meta.url));
const READY_SECONDS_MAX = 60;
const DRAIN_SECONDS_MAX = 30;
const CALL_SECONDS_MAX = 60;
/** Answers for the first agent, and reviews. */
export const FIRST_REVIEWER = 'Ada Lovelace';

/** Starts placet for the test `t`, which also stops it and then expects a clean exit. */
export async function startPlacet(t, { starter = 'solo', env = {} } = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'placet-browser-'));
  const child = run(directory, ['up', '--json', '--starter', starter, '--reviewer', FIRST_REVIEWER], {
    PLACET__AGENTS__LISTEN: '127.0.0.1:0',
    PLACET__REVIEWERS__LISTEN: '127.0.0.1:0',
    ...env,
  });
  const placet = new Placet(child, directory);
  // One hook, in this order: a directory that is still written to cannot be removed, and hooks after a failed one do not run.
  t.after(async () => {
    try {
      await placet.stop();
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
  await placet.ready();
  return placet;
}

/** Starts the binary. Nothing of the developer's own settings reaches it. */
function run(directory, args, env = {}) {
  return spawn(BINARY, args, {
    cwd: directory,
    env: { PATH: process.env.PATH, HOME: directory, PLACET_DIR: join(directory, 'data'), ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

export class Placet {
  #child;
  #directory;
  #stderr = '';
  #exited;
  #refused;

  constructor(child, directory) {
    this.#child = child;
    this.#directory = directory;
    child.stdin.end();
    child.stderr.setEncoding('utf8').on('data', (text) => (this.#stderr += text));
    this.#refused = new Promise((resolve) => child.once('error', resolve));
    this.#exited = once(child, 'close').then(
      ([code, signal]) => ({ code, signal }),
      (error) => ({ error }),
    );
  }

  /** Waits for the ready line and keeps what it tells. */
  async ready() {
    const lines = createInterface({ input: this.#child.stdout });
    const line = await within(
      READY_SECONDS_MAX,
      Promise.race([
        once(lines, 'line').then(([text]) => text),
        this.#exited.then(() => undefined),
        this.#refused.then(() => undefined),
      ]),
    );
    if (typeof line !== 'string') this.#fail('placet did not become ready');
    const told = JSON.parse(line);
    assert.equal(told.ready, true, line);
    for (const key of ['agents', 'reviewers', 'agent_token', 'invitation']) {
      assert.equal(typeof told[key], 'string', `the ready line tells ${key}: ${Object.keys(told)}`);
    }
    this.agents = told.agents;
    this.reviewers = told.reviewers;
    this.token = told.agent_token;
    this.invitation = told.invitation;
    // Nobody reads further lines, and an unread pipe would stop the program.
    this.#child.stdout.resume();
  }

  /** Ctrl-C: placet drains and ends with success, or the test fails with what it said. */
  async stop() {
    if (this.#child.pid === undefined) return;
    this.#child.kill('SIGINT');
    const end = await within(DRAIN_SECONDS_MAX, this.#exited);
    if (end === TOO_LATE) {
      this.#child.kill('SIGKILL');
      this.#fail('placet did not drain');
    }
    if (end.code !== 0) this.#fail(`placet ended with ${JSON.stringify(end)}`);
  }

  /** A call at the agents' door. Returns the status and the parsed body. */
  async call(method, path, body) {
    const response = await fetch(new URL(path, this.agents), {
      method,
      headers: { authorization: `Bearer ${this.token}`, ...(body && { 'content-type': 'application/json' }) },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(CALL_SECONDS_MAX * 1000),
    });
    const text = await response.text();
    return { status: response.status, body: text ? JSON.parse(text) : undefined };
  }

  /** Asks for the deployment that both starter bundles let a person decide. Returns the pending request. */
  async askToDeploy({ args = { version: '1.2.3' }, justification = 'release day', resource = 'production' } = {}) {
    const { status, body } = await this.call('POST', '/v1/requests', {
      action: 'example.deploy',
      resource: { type: 'Example', id: resource },
      arguments: args,
      justification,
    });
    assert.equal(status, 201, JSON.stringify(body));
    assert.equal(body.status, 'pending', JSON.stringify(body));
    assert.match(body.short_code, /^[0-9A-Z]{4}-[0-9A-Z]{4}$/);
    return body;
  }

  /** Asks for a command, which starter bundles let a person decide. Returns the pending request. */
  async askToRun({ argv, justification, inputs = [], stdin }) {
    const { status, body } = await this.call('POST', '/v1/commands', { argv, justification, inputs, stdin });
    assert.equal(status, 201, JSON.stringify(body));
    assert.equal(body.status, 'pending', JSON.stringify(body));
    return body;
  }

  /** Lets placet run an approved command, and reads what it wrote to the end. */
  async runToTheEnd(request) {
    const { status, body } = await this.call('POST', `/v1/commands/${request.id}/run`);
    assert.equal(status, 201, JSON.stringify(body));
    const response = await fetch(new URL(`/v1/commands/${request.id}/output`, this.agents), {
      headers: { authorization: `Bearer ${this.token}` },
      signal: AbortSignal.timeout(CALL_SECONDS_MAX * 1000),
    });
    assert.equal(response.status, 200);
    return Buffer.from(await response.arrayBuffer());
  }

  /** Uploads an input of a command. Returns its SHA-256. */
  async upload(content) {
    const sha256 = createHash('sha256').update(content).digest('hex');
    const response = await fetch(new URL(`/v1/blobs/${sha256}`, this.agents), {
      method: 'PUT',
      headers: { authorization: `Bearer ${this.token}` },
      body: content,
    });
    assert.ok(response.ok, await response.text());
    return sha256;
  }

  async request(id) {
    const { status, body } = await this.call('GET', `/v1/requests/${id}`);
    assert.equal(status, 200, JSON.stringify(body));
    return body;
  }

  /** Withdraws a request as its requester. */
  async cancel(id) {
    const { status, body } = await this.call('POST', `/v1/requests/${id}/cancel`);
    assert.ok(status >= 200 && status < 300, JSON.stringify(body));
  }

  /** Claims a granted request and reports how it ended, as its requester. */
  async carryOut(request, outcome) {
    const { status, body } = await this.call('POST', `/v1/requests/${request.id}/execution`, {
      digest: request.digest,
      claim: 'once',
    });
    assert.equal(status, 200, JSON.stringify(body));
    const { execution_id } = body;
    const told = await this.call('POST', `/v1/requests/${request.id}/outcome`, { execution_id, ...outcome });
    assert.equal(told.status, 200, JSON.stringify(told.body));
  }

  /**
   * Runs a command of the binary as the operator. Returns what it wrote to standard output. `said` is told what stands on
   * standard error so far, whenever there is more.
   */
  async cli(args, { stdin = '', said = () => {} } = {}) {
    const child = run(this.#directory, args);
    const written = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr']) child[name].setEncoding('utf8').on('data', (text) => (written[name] += text));
    child.stderr.on('data', () => said(written.stderr));
    child.stdin.end(stdin);
    const [code] = await once(child, 'close');
    assert.equal(code, 0, `placet ${args.join(' ')} said:\n${written.stdout}${written.stderr}`);
    return written.stdout.trim();
  }

  /** Adds a person who may review. Returns their sign-in link. */
  async addReviewer(name) {
    await this.cli(['person', 'add', name, '--group', 'reviewers']);
    return this.cli(['person', 'invite', name]);
  }

  /** Adds an agent that the first reviewer answers for. Returns its token. */
  async addAgent(name) {
    return this.cli(['agent', 'add', name, '--sponsor', FIRST_REVIEWER]);
  }

  /** Puts a bundle in force that is the present one with `[file, from, to]` replaced, and `[file]` left out. */
  async changePolicy(...changes) {
    const policy = join(this.#directory, 'data', 'policy');
    for (const [file, from, to] of changes) {
      const path = join(policy, file);
      if (from === undefined) {
        await rm(path);
        continue;
      }
      const text = await readFile(path, 'utf8');
      assert.ok(text.includes(from), `${file} has ${from}`);
      await writeFile(path, text.replaceAll(from, to));
    }
    await this.cli(['policy', 'activate', '--yes', policy]);
  }

  #fail(message) {
    throw new Error(`${message}; it said:\n${this.#stderr || '(nothing)'}`);
  }
}

const TOO_LATE = Symbol('too late');

async function within(seconds, promise) {
  let timer;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, seconds * 1000, TOO_LATE)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
