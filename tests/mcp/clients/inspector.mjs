// The Inspector's command line: a process for each call.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { drive, target } from './driver.mjs';

const INSPECTOR = fileURLToPath(new URL('../node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js', import.meta.url));

async function inspect(...asked) {
  const how = ['--cli', target.url, '--transport', 'http', '--header', `Authorization: Bearer ${target.token}`];
  const child = spawn(process.execPath, [INSPECTOR, ...how, ...asked], { stdio: ['ignore', 'pipe', 'pipe'] });
  const written = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr']) child[name].setEncoding('utf8').on('data', (text) => (written[name] += text));
  await once(child, 'close');
  try {
    return JSON.parse(written.stdout);
  } catch {
    throw new Error(written.stderr || written.stdout || 'the inspector said nothing');
  }
}

await drive(async () => ({
  list: async () => (await inspect('--method', 'tools/list')).tools,
  call: (name, args) => {
    const pairs = Object.entries(args).flatMap(([key, value]) => ['--tool-arg', `${key}=${JSON.stringify(value)}`]);
    return inspect('--method', 'tools/call', '--tool-name', name, ...pairs);
  },
  close: async () => {},
}));
