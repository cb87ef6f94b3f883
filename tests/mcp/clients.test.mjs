// Other people's clients, as they come, at the real binary in front of a real server: what each sees and gets.

import assert from 'node:assert/strict';
import { before, after, test } from 'node:test';
import { CLIENTS, Client, text } from './lib/clients.mjs';
import { startGateway } from './lib/gateway.mjs';

let gateway;
const closing = [];

before(async () => {
  gateway = await startGateway({ after: (close) => closing.unshift(close) }, {
    servers: ['everything'],
    permitted: ['everything/echo'],
  });
});

after(async () => {
  for (const close of closing) await close();
});

test('clients', { concurrency: 4 }, async (t) => {
  const each = Object.keys(CLIENTS).map((name) => t.test(name, (t) => useTools(t, name)));
  await Promise.all(each);
});

async function useTools(t, name) {
  const place = Object.keys(CLIENTS).indexOf(name);
  const { reviewer } = gateway;
  const token = await gateway.addAgent(`client-${place}`);
  const client = new Client(gateway, { name, server: 'everything', token });
  t.after(() => client.close());

  const tools = (await client.list()).map((tool) => tool.name);
  assert.ok(tools.includes('echo') && tools.includes('get-sum'), `${tools}`);
  assert.ok(tools.includes('placet_await_approval'), `${tools}`);
  assert.ok(!tools.some((tool) => /^placet_(?!await)/.test(tool)), 'there is no tool to approve anything');

  // What policy permits does not wait.
  const message = `hello from ${place}, 9007199254740993`;
  assert.equal(text(await client.call('echo', { message })), `Echo: ${message}`);
  assert.equal(await gateway.calls('everything', message), 1);

  // What a person has to decide is carried out once, whatever the client does meanwhile.
  const a = 1_000_000 + place;
  const gated = { a, b: 1 };
  const asked = client.call('get-sum', gated).catch((error) => error);
  const waiting = await gateway.waiting(token, `"a":${a}`);
  assert.equal(await gateway.calls('everything', `"a":${a}`), 0, 'nothing happens before somebody decided');
  await reviewer.approve(waiting.id);
  const first = await asked;
  const sum = `${a} and 1 is ${a + 1}`;
  const told = first instanceof Error ? await client.call('get-sum', gated) : first;
  assert.ok(text(told).includes(sum), text(told));
  // The same call again is no second deed.
  assert.equal(text(await client.call('get-sum', gated)), text(told));
  assert.equal(await gateway.calls('everything', `"a":${a}`), 1);

  // A refusal is a result that says why.
  const refused = { a, b: 2 };
  const hoped = client.call('get-sum', refused).catch((error) => error);
  const denied = await gateway.waiting(token, `"b":2`);
  await reviewer.deny(denied.id, 'not on a Friday');
  const no = await hoped;
  const why = no instanceof Error ? await client.call('get-sum', refused) : no;
  assert.equal(why.isError, true, JSON.stringify(why));
  assert.match(text(why), /^NOT EXECUTED\. A person denied it.*not on a Friday/s);
  assert.equal(await gateway.calls('everything', `"b":2`.replace('2', '2')), 0);
}
