// What a test wants of a client, one JSON object a line: {"op":"list"}, {"op":"call","name":…,"arguments":…}, and
// {"op":"open"} for a session that is new. Each is answered with {"ok":…} or {"error":…}. The client beneath is somebody
// else's, with the options that it comes with; SETTINGS changes one where a test compresses time.

import { createInterface } from 'node:readline';

/** Where placet is, as whoever runs a client tells it. */
export const target = {
  url: process.argv[2],
  token: process.env.PLACET_AGENT_TOKEN,
  /** Seconds after which the client gives up, or nothing for its own. */
  seconds: JSON.parse(process.env.SETTINGS ?? '{}').seconds,
};

/** Answers until nobody asks any more. `open` gives `{ list, call, close }`. */
export async function drive(open) {
  let session;
  const reopen = async () => {
    const former = session;
    session = undefined;
    // It may be broken, which is why it is opened anew.
    await former?.close().catch(() => {});
    session = await open();
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const { op, ...asked } = JSON.parse(line);
    let answer;
    try {
      if (op === 'open' || session === undefined) await reopen();
      if (op === 'open') answer = { ok: null };
      if (op === 'list') answer = { ok: await session.list() };
      if (op === 'call') answer = { ok: await session.call(asked.name, asked.arguments) };
    } catch (error) {
      answer = { error: String(error?.message ?? error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  await session?.close().catch(() => {});
  process.exit(0);
}
