// Where other people's programs are, as `cargo xtask setup` installs them.

import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

export const BINARY = process.env.PLACET_BIN ?? here('../../target/debug/placet');
/** Two environments, as version 1 and version 2 of the Python SDK exclude each other. */
export const PYTHON = here('../../target/mcp/current/bin/python');
export const PYTHON_OLDER = here('../../target/mcp/older/bin/python');
export const NODE = process.execPath;

/** The programs of `rust/`, as `cargo xtask ci --only mcp` builds them. */
export const RUST = here('../../target/mcp/rust/debug');

export const client = (name) => here(`clients/${name}`);
export const server = (name) => here(`servers/${name}`);
const module = (path) => here(`node_modules/@modelcontextprotocol/${path}`);

export const CONFORMANCE = module('conformance/dist/index.js');

/** Servers that other people wrote, each as the words that start it; `home` is a directory of the test's. */
export const UPSTREAMS = {
  everything: () => [NODE, module('server-everything/dist/index.js'), 'stdio'],
  files: (home) => [NODE, module('server-filesystem/dist/index.js'), home],
  memory: () => [NODE, module('server-memory/dist/index.js')],
  git: (home) => [PYTHON, '-m', 'mcp_server_git', '--repository', home],
  fast: () => [PYTHON, server('fast.py')],
  rust: () => [`${RUST}/server`, 'stdio'],
};
