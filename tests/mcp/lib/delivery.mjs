// What becomes of a call on which a person decides late: which attempt brings the result, and how often it was carried
// out. No client waits as long as people take, so what counts is that coming back once, after the decision, is enough.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, text } from './clients.mjs';

/** How a cell of the matrix can end. The last two must not happen. */
export const OUTCOMES = { same: 'same call', again: 'one more', lost: 'LOST', twice: 'TWICE' };

/**
 * One agent, one call, a decision `delay` seconds after the request is there. An `impatient` agent repeats itself until
 * somebody has decided, as models do; any other comes back once, afterwards, or `returns` times at most where time is
 * compressed: a busy machine is not, and may take longer than the client's shortened limit to carry out what was approved.
 */
export async function deliver(gateway, cell) {
  const { name, place, delay, seconds, server = 'everything', impatient = false, returns = 1 } = cell;
  const { opening = (open) => open() } = cell;
  const token = await gateway.addAgent(`cell-${place}`);
  const client = new Client(gateway, { name, server, token, seconds, patience: delay + 120 });
  try {
    await opening(() => client.open());
    const message = `cell-${place}.`;
    const attempt = (tool = 'echo', args = { message }) => settled(client.call(tool, args), message);
    const began = performance.now();
    const { attempting, waiting } = await arrived(gateway, token, message, attempt, returns);
    let open = true;
    const decided = sleep(delay * 1000)
      .then(() => gateway.reviewer.approve(waiting.id))
      .finally(() => (open = false));
    // Whoever waits for it hears of a refusal; until then it is nobody's.
    decided.catch(() => {});
    const first = await attempting;
    first.seconds = (performance.now() - began) / 1000;
    while (impatient && open && !first.result) {
      await sleep(300);
      await attempt();
    }
    await decided;
    let last = first;
    for (let left = returns; left > 0 && !last.result; left -= 1) last = await again(client, first, attempt, waiting.id);
    const calls = await gateway.calls(server, message);
    return { name, server, delay, outcome: outcome(first, last, calls), first, last, calls };
  } finally {
    client.close();
  }
}

/** The first attempt whose request is there. On a busy machine a client may give up before its call has arrived. */
async function arrived(gateway, token, message, attempt, tries) {
  let over = false;
  const attempting = attempt();
  // What was sent last may still be on its way.
  attempting.then(() => sleep(2000)).then(() => (over = true));
  const waiting = await gateway.waiting(token, message, () => over);
  if (waiting) return { attempting, waiting };
  assert.ok(tries > 1, `nothing of ${message} arrived`);
  return arrived(gateway, token, message, attempt, tries - 1);
}

/** Comes back as it was told, or, if it was told nothing, with the same call. */
async function again(client, first, attempt, id) {
  if (first.pending) return attempt('placet_await_approval', { approval_id: id });
  const second = await attempt();
  // A session that ended with the first attempt never carried the second.
  if (second.result || second.pending) return second;
  await client.open().catch(() => {});
  return { ...(await attempt()), reopened: true };
}

function outcome(first, last, calls) {
  if (calls > 1) return 'twice';
  if (!last.result || calls === 0) return 'lost';
  return first === last ? 'same' : 'again';
}

async function settled(called, message) {
  try {
    const said = text(await called);
    return { said, result: said === `Echo: ${message}`, pending: said.includes('call placet_await_approval with') };
  } catch (error) {
    return { said: error.message, result: false, pending: false };
  }
}

/** Lets so many in at a time. */
export function gate(width) {
  let inside = 0;
  const queue = [];
  return async (work) => {
    while (inside >= width) await new Promise((resolve) => queue.push(resolve));
    inside += 1;
    try {
      return await work();
    } finally {
      inside -= 1;
      queue.shift()?.();
    }
  };
}
