// Tokens that somebody else's library signs, found and used the way a client of the protocol finds them: an agent without
// any credential of placet's.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';
import { FIRST_REVIEWER } from '../browser/lib/placet.mjs';
import { startGateway } from './lib/gateway.mjs';

const SUBJECT = 'spiffe://shop.example/ns/ci/sa/deployer';

test('a workload calls tools with the token of its platform', async (t) => {
  const platform = await Platform.start(t);
  const gateway = await startGateway(t, {
    servers: ['everything'],
    permitted: ['everything/echo'],
    env: { PLACET__AGENTS__ISSUERS: platform.issuer },
  });
  const { placet } = gateway;
  const workload = ['--issuer', platform.issuer, '--subject', SUBJECT];
  const said = await placet.cli(['agent', 'add', 'deployer', '--sponsor', FIRST_REVIEWER, ...workload]);
  assert.doesNotMatch(said, /placet_agent_/);

  // Whoever has nothing is told where to go, and for what.
  const address = gateway.address('everything');
  const bare = await fetch(address, { method: 'POST', body: '{}' });
  assert.equal(bare.status, 401);
  const [, metadata] = /resource_metadata="([^"]+)"/.exec(bare.headers.get('www-authenticate'));
  const { resource, authorization_servers: issuers } = await (await fetch(metadata)).json();
  assert.deepEqual(issuers, [platform.issuer]);

  for (const algorithm of Object.keys(platform.keys)) {
    const client = await connect(t, address, await platform.token(algorithm, { audience: resource }));
    const message = `signed with ${algorithm}`;
    const { content } = await client.callTool({ name: 'echo', arguments: { message } });
    assert.equal(content[0].text, `Echo: ${message}`);
    await client.close();
  }
  const claims = { audience: resource };
  for (const [refused, why] of [
    [{ audience: 'https://elsewhere.example/mcp' }, /issued for another audience/],
    [{ ...claims, subject: 'spiffe://shop.example/ns/ci/sa/somebody-else' }, /no active agent is its subject/],
    [{ ...claims, expires: '-2 min' }, /It is expired/],
    [{ ...claims, begins: '+2 min' }, /not valid yet/],
    [{ ...claims, issuer: 'https://elsewhere.example' }, /not one of those that the operator named/],
    [{ ...claims, type: 'dpop+jwt' }, /of a type for another purpose/],
    [{ ...claims, more: { act: { sub: 'somebody' } } }, /somebody acts for its subject/],
  ]) {
    const authorization = `Bearer ${await platform.token('ES256', refused)}`;
    const answer = await fetch(address, { method: 'POST', headers: { authorization }, body: '{}' });
    assert.equal(answer.status, 401);
    assert.match((await answer.json()).detail, why);
  }

  // What it asks for is its own, and waits for people like anybody's.
  const token = await platform.token('EdDSA', claims);
  const client = await connect(t, address, token);
  const sum = client.callTool({ name: 'get-sum', arguments: { a: 2, b: 40 } });
  const forDoor = await platform.token('EdDSA', { audience: placet.agents });
  const waiting = await gateway.waiting(forDoor, '"b":40');
  assert.equal(waiting.principal.name, 'deployer');
  await gateway.reviewer.approve(waiting.id);
  assert.match((await sum).content[0].text, /42/);
});

/** An issuer whose metadata and keys are where the standards want them. */
class Platform {
  static async start(t) {
    const platform = new Platform();
    platform.keys = {};
    for (const algorithm of ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA']) {
      platform.keys[algorithm] = await generateKeyPair(algorithm, { extractable: true });
    }
    const named = Object.entries(platform.keys).map(async ([kid, { publicKey }]) => ({ ...(await exportJWK(publicKey)), kid }));
    const keys = await Promise.all(named);
    const server = createServer(({ url }, answer) => {
      const documents = {
        '/.well-known/oauth-authorization-server': { issuer: platform.issuer, jwks_uri: `${platform.issuer}/keys` },
        '/keys': { keys },
      };
      answer.writeHead(documents[url] ? 200 : 404, { 'content-type': 'application/json', connection: 'close' });
      answer.end(JSON.stringify(documents[url] ?? {}));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    platform.issuer = `http://localhost:${server.address().port}`;
    return platform;
  }

  token(algorithm, { audience, subject = SUBJECT, issuer = this.issuer, expires = '5 min', begins = '-1 min', type = 'at+jwt', more = {} }) {
    return new SignJWT({ client_id: 'deployer', ...more })
      .setProtectedHeader({ alg: algorithm, kid: algorithm, typ: type })
      .setIssuer(issuer)
      .setSubject(subject)
      .setAudience(audience)
      .setNotBefore(begins)
      .setExpirationTime(expires)
      .sign(this.keys[algorithm].privateKey);
  }
}

async function connect(t, address, token) {
  const client = new Client({ name: 'workload', version: '1.0.0' });
  const requestInit = { headers: { authorization: `Bearer ${token}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(address), { requestInit }));
  t.after(() => client.close());
  return client;
}
