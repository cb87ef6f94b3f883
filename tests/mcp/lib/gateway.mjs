// The real binary in front of real servers, a person who decides, and what reached the servers in the end.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FIRST_REVIEWER, startPlacet } from '../../browser/lib/placet.mjs';
import { PYTHON, UPSTREAMS, server } from './installed.mjs';
import { logIn, loggedIn } from './login.mjs';
import { Reviewer } from './reviewer.mjs';

const ASKED = 'forbid (principal, action == Action::"mcp.call", resource)\n';
const READ = 'forbid (principal, action in [Action::"mcp.read", Action::"mcp.prompt", Action::"mcp.complete"], resource)\n';
const BESIDE_TOOLS = 'resources,prompts,completions';

/**
 * Starts placet for the test `t` with these servers, all their tools accepted. `permitted` tools, `server/tool`, are not
 * asked about; 'all' of them may be. `urls` are servers that run already, by name; `oauth` are more words for `placet mcp add`
 * where they want tokens. `home` is the directory that the servers work in, if it is not one of their own.
 */
export async function startGateway(t, { servers = [], urls = {}, permitted = [], secrets = {}, oauth, home: given, env = {} }) {
  const placet = await startPlacet(t, { env });
  const home = await mkdtemp(join(tmpdir(), 'placet-mcp-'));
  t.after(() => rm(home, { recursive: true, force: true }));
  for (const name of servers) {
    const tapped = [PYTHON, server('tap.py'), join(home, `${name}.log`), ...UPSTREAMS[name](given ?? home)];
    await placet.cli(['mcp', 'add', name, '--yes', '--', ...tapped]);
  }
  for (const [name, value] of Object.entries(secrets)) await placet.cli(['secret', 'set', name], { stdin: value });
  for (const [name, url] of Object.entries(urls)) {
    await placet.cli(['mcp', 'add', name, '--yes', '--pass', BESIDE_TOOLS, '--url', url, ...(oauth ?? [])]);
    if (oauth && !oauth.includes('--unattended')) await logIn(placet, name);
  }
  for (const name of [...servers, ...Object.keys(urls)]) {
    await loggedIn(placet, name, () => placet.cli(['mcp', 'accept', name, '--all', '--yes']));
  }
  if (permitted === 'all') {
    // A test of the starter wants the guards to be there for a server of this name.
    await placet.changePolicy(...[ASKED, READ].map((guard) => ['ask.cedar', guard, `${guard}when { context.server == "files" }\n`]));
  } else if (permitted.length > 0) {
    const rules = permitted.map((tool) => `Tool::"${tool}"`).join(', ');
    await placet.changePolicy(['ask.cedar', ASKED, `${ASKED}when { ![${rules}].contains(resource) }\n`]);
  }
  const link = await placet.cli(['person', 'invite', FIRST_REVIEWER]);
  return new Gateway(placet, home, await Reviewer.signIn(placet.reviewers, link));
}

class Gateway {
  #adding = Promise.resolve();

  constructor(placet, home, reviewer) {
    Object.assign(this, { placet, home, reviewer });
  }

  /** The token of a new agent. One after the other: each changes who is there, and would move the ground under the next. */
  addAgent(name) {
    const added = this.#adding.then(() => this.placet.addAgent(name));
    this.#adding = added.catch(() => {});
    return added;
  }

  address(name) {
    return `${this.placet.agents}/mcp${name ? `/${name}` : ''}`;
  }

  /** How often a server was called with arguments that contain this text. */
  async calls(name, text) {
    const log = await readFile(join(this.home, `${name}.log`), 'utf8').catch(() => '');
    const messages = log.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line));
    const calls = messages.filter(({ method }) => method === 'tools/call');
    return calls.filter(({ params }) => JSON.stringify(params.arguments).includes(text)).length;
  }

  /** What waits for a person, of this agent's. */
  async pending(token = this.placet.token) {
    const answer = await fetch(new URL('/v1/requests?status=pending&limit=200', this.placet.agents), {
      headers: { authorization: `Bearer ${token}` },
    });
    assert.equal(answer.status, 200);
    return (await answer.json()).requests;
  }

  /**
   * The request of this agent's whose arguments contain this text, as soon as it waits for a person; none if it is not
   * there when the call for it is `over`.
   */
  async waiting(token, text, over = () => false) {
    for (let tries = 0; tries < 600; tries += 1) {
      const last = over();
      const requests = await this.pending(token);
      const found = requests.find(({ canonical }) => canonical.includes(text));
      if (found || last) return found;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`no request with ${text} waits for a person`);
  }
}
