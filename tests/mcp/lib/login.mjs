// An operator at `placet mcp login`, with a browser in which every authorization server is told yes.

const ASKED = 'placet mcp login';

/** Logs in at a server. Whatever an authorization server wants to be typed or clicked is not here. */
export async function logIn(placet, server) {
  let visit;
  await placet.cli(['mcp', 'login', server], {
    said: (text) => {
      const address = /^(https?:\S+)\n/m.exec(text)?.[1];
      if (address) visit ??= consent(address);
    },
  });
  await visit;
}

/** Does something that may end with the advice to log in; then the advice is followed, once. */
export async function loggedIn(placet, server, work) {
  const first = await work().catch((error) => error);
  const says = first instanceof Error ? first.message : JSON.stringify(first ?? '');
  if (!says.includes(ASKED)) {
    if (first instanceof Error) throw first;
    return first;
  }
  await logIn(placet, server);
  return work();
}

async function consent(address) {
  const answer = await fetch(address, { redirect: 'manual' });
  await fetch(answer.headers.get('location'));
}
