// The delivery matrix in compressed time: what `cargo xtask mcp-matrix` does for nine minutes, in one and a half. The time for which
// a call is held and the clients' own time limits are shorter by the same factor, as far as a client lets us.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLIENTS } from './lib/clients.mjs';
import { deliver, gate } from './lib/delivery.mjs';
import { startGateway } from './lib/gateway.mjs';

/** 45 seconds, for which a call is held, are a whole number of seconds then. */
const FACTOR = 9;
const DELAYS = [2, 90, 480];
/** Below this a busy machine could not even open a session. */
const SECONDS_MIN = 3;

test('no decision comes too late for any client', async (t) => {
  const gateway = await startGateway(t, { servers: ['everything', 'rust'], env: { PLACET__MCP__HOLD: `${45 / FACTOR}s` } });
  const opening = gate(3);
  const cells = Object.entries(CLIENTS).flatMap(([name, { seconds }]) => {
    const cell = (server, delay) => ({
      name,
      server,
      delay: delay / FACTOR,
      seconds: seconds && Math.max(seconds / FACTOR, SECONDS_MIN),
      impatient: delay === 90,
      returns: 20,
    });
    // Another server makes no difference to the time that people take.
    return [...DELAYS.map((delay) => cell('everything', delay)), cell('rust', 90)];
  });
  const results = await Promise.all(cells.map((cell, place) => deliver(gateway, { ...cell, place, opening })));
  const bad = results.filter(({ outcome }) => outcome === 'lost' || outcome === 'twice');
  assert.deepEqual(bad, []);
  const count = (outcome) => results.filter((result) => result.outcome === outcome).length;
  t.diagnostic(`${count('same')} in the same call, ${count('again')} after coming back once`);
  assert.ok(count('same') > 0 && count('again') > 0, 'both ways were gone');
});
