// The real binary, one per test: its own directory, its own ports, stopped the way an operator stops it.
// Speaks the agents' door as any agent would.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const BINARY = process.env.PLACET_BIN ?? fileURLToPath(new URL('../../../target/debug/placet', import.meta.url));
const READY_SECONDS_MAX = 60;
const DRAIN_SECONDS_MAX = 30;
const CALL_SECONDS_MAX = 60;

/** Starts placet for the test `t`, which also stops it and then expects a clean exit. */
export async function startPlacet(t, { starter = 'solo' } = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'placet-browser-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const child = spawn(BINARY, ['up', '--json', '--dir', join(directory, 'data'), '--starter', starter], {
    // Nothing of the developer's own settings may reach the binary under test.
    env: {
      PATH: process.env.PATH,
      HOME: directory,
      PLACET__AGENTS__LISTEN: '127.0.0.1:0',
      PLACET__REVIEWERS__LISTEN: '127.0.0.1:0',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const placet = new Placet(child);
  t.after(() => placet.stop());
  await placet.ready();
  return placet;
}

export class Placet {
  #child;
  #stderr = '';
  #exited;
  #refused;

  constructor(child) {
    this.#child = child;
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
