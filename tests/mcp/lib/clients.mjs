// Other people's clients, each a process that does what it is told: `clients/driver.mjs` says how.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { BINARY, NODE, PYTHON, PYTHON_OLDER, RUST, client } from './installed.mjs';

const sdk = (version) => `@modelcontextprotocol/${version === 1 ? 'sdk' : 'client'}`;
const node = (file, packaged, more) => ({ command: [NODE, client(file)], package: packaged, ...more });
const python = (file, packaged, more) => ({ command: [PYTHON, client(file)], package: packaged, requirements: 'current', ...more });
const older = (file, packaged) => ({ command: [PYTHON_OLDER, client(file)], package: packaged, requirements: 'older' });

/** `seconds` is after how long it gives up by itself, where it does. */
export const CLIENTS = {
  'TypeScript SDK 1': node('typescript-1.mjs', sdk(1), { seconds: 60 }),
  'TypeScript SDK 1, stdio': node('typescript-1.mjs', sdk(1), { seconds: 60, stdio: true }),
  'TypeScript SDK 2': node('typescript-2.mjs', sdk(2), { seconds: 60 }),
  'TypeScript SDK 2, auto': node('typescript-2.mjs', sdk(2), { seconds: 60, with: ['auto'] }),
  'Inspector CLI': node('inspector.mjs', '@modelcontextprotocol/inspector'),
  'Python SDK 1': older('python_1.py', 'mcp'),
  'Python SDK 2': python('python_2.py', 'mcp'),
  fastmcp: python('fast.py', 'fastmcp'),
  'fastmcp with fastmcp-tasks': python('fast.py', 'fastmcp-tasks', { with: ['tasks'] }),
  'openai-agents': python('openai_agents.py', 'openai-agents', { seconds: 5 }),
  'langchain-mcp-adapters': older('langchain.py', 'langchain-mcp-adapters'),
  rmcp: { command: [`${RUST}/client`], package: 'rmcp', crate: true },
  'rmcp, auto': { command: [`${RUST}/client`], package: 'rmcp', crate: true, with: ['auto'] },
};

export class Client {
  #child;
  #answers;
  #patience;
  #said = '';

  /**
   * Starts a client of `gateway`'s `server` (or of all, without one) for whoever has this token. Some clients never give
   * up: after `patience` seconds without an answer the test does.
   */
  constructor(gateway, { name, server, token, seconds, patience = 120 }) {
    const { command, with: more = [], stdio } = CLIENTS[name];
    const [program, ...args] = command;
    const address = stdio ? JSON.stringify([BINARY, 'mcp', 'stdio', ...(server ? [server] : [])]) : gateway.address(server);
    this.name = name;
    this.#patience = patience;
    this.#child = spawn(program, [...args, address, ...more], {
      env: {
        PATH: process.env.PATH,
        HOME: gateway.home,
        PLACET_AGENTS_URL: gateway.placet.agents,
        PLACET_AGENT_TOKEN: token,
        SETTINGS: JSON.stringify({ seconds }),
        PYTHONDONTWRITEBYTECODE: '1',
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text) => (this.#said = (this.#said + text).slice(-4000)));
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Opens a new session. */
  open() {
    return this.#ask({ op: 'open' });
  }

  list() {
    return this.#ask({ op: 'list' });
  }

  /** Calls a tool. Returns its result, or throws what the client says. */
  call(name, args) {
    return this.#ask({ op: 'call', name, arguments: args });
  }

  close() {
    this.#child.stdin.end();
    this.#child.kill('SIGKILL');
  }

  async #ask(question) {
    this.#child.stdin.write(`${JSON.stringify(question)}\n`);
    const late = sleep(this.#patience * 1000, undefined, { ref: false }).then(() => {
      throw new Error(`${this.name} does not answer ${JSON.stringify(question)}; it said:\n${this.#said}`);
    });
    const { value } = await Promise.race([this.#answers.next(), late]);
    assert.ok(value, `the client ended; it said:\n${this.#said}`);
    const answer = JSON.parse(value);
    if ('error' in answer) throw new ClientError(answer.error, this.#said);
    return answer.ok;
  }
}

/** The client gave up, or was refused. */
export class ClientError extends Error {
  constructor(message, said) {
    super(message);
    this.said = said;
  }
}

/** A result's text. */
export function text(result) {
  return result.content.map((block) => block.text ?? '').join('');
}
