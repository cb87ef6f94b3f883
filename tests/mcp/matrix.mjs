// The delivery matrix in real time: every client with its own time limits, people who take from two seconds to eight
// minutes. All cells at once, as they mostly wait. `cargo xtask mcp-matrix` runs it and writes docs/mcp-matrix.md.

import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { CLIENTS } from './lib/clients.mjs';
import { OUTCOMES, deliver, gate } from './lib/delivery.mjs';
import { startGateway } from './lib/gateway.mjs';

const DELAYS = { 2: '2 s', 30: '30 s', 90: '90 s', 240: '4 min', 480: '8 min' };
const MARK = { begin: '<!-- the table is written by `cargo xtask mcp-matrix` -->', end: '<!-- end of the table -->' };

const { values } = parseArgs({ options: { page: { type: 'string' }, delays: { type: 'string' } } });
const delays = values.delays?.split(',').map(Number) ?? Object.keys(DELAYS).map(Number);

const closing = [];
const gateway = await startGateway({ after: (close) => closing.unshift(close) }, { servers: ['everything'] });
const opening = gate(3);
const cells = Object.keys(CLIENTS).flatMap((name) => delays.map((delay) => ({ name, delay })));
const results = await Promise.all(cells.map((cell, place) => deliver(gateway, { ...cell, place, opening })));
for (const close of closing) await close();

const lines = [
  `| client | ${delays.map((delay) => DELAYS[delay] ?? `${delay} s`).join(' | ')} |`,
  `|---|${delays.map(() => '---|').join('')}`,
  ...(await Promise.all(Object.keys(CLIENTS).map(async (name) => `| ${await named(name)} | ${row(name)} |`))),
];
const count = (...outcomes) => results.filter(({ outcome }) => outcomes.includes(outcome)).length;
const date = new Date().toISOString().slice(0, 10);
const table = [
  ...lines,
  '',
  `${date}: ${results.length} calls, ${count('same')} answered in the same call, ${count('again')} after coming back once, ` +
    `${count('lost')} lost, ${count('twice')} carried out twice.`,
].join('\n');
console.log(table);
for (const result of results.filter(({ outcome }) => outcome === 'lost' || outcome === 'twice')) console.log(result);
if (values.page) {
  const page = await readFile(values.page, 'utf8');
  const [before, rest] = page.split(MARK.begin);
  const after = rest.split(MARK.end)[1];
  await writeFile(values.page, `${before}${MARK.begin}\n\n${table}\n\n${MARK.end}${after}`);
}
process.exit(count('lost', 'twice') === 0 ? 0 : 1);

/** One client's cells: the outcome, and when the first attempt ended if it did so without a result. */
function row(name) {
  return results
    .filter((result) => result.name === name)
    .map(({ outcome, first, last }) => {
      if (outcome !== 'again') return OUTCOMES[outcome];
      const seconds = Math.round(first.seconds);
      const session = last.reopened ? ', new session' : '';
      return `${OUTCOMES[outcome]} (${first.pending ? 'told to come back' : 'gave up'} at ${seconds} s${session})`;
    })
    .join(' | ');
}

/** The client with its version. */
async function named(name) {
  const { package: wanted, requirements, crate } = CLIENTS[name];
  const file = crate ? 'rust/Cargo.toml' : requirements ? `requirements/${requirements}.txt` : 'package.json';
  const pins = await readFile(new URL(file, import.meta.url), 'utf8');
  let version;
  if (crate) version = pins.split(`${wanted} = { version = "=`)[1]?.split('"')[0];
  else if (requirements) version = pins.split('\n').find((line) => line.startsWith(`${wanted}==`))?.split('==')[1];
  else version = JSON.parse(pins).devDependencies[wanted];
  if (!version) throw new Error(`${file} has no version of ${wanted}`);
  return `${name} (${version})`;
}
