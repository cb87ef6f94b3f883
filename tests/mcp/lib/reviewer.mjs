// A person at the reviewers' door: signed in with a link, voting on what is shown.

import assert from 'node:assert/strict';

/** The refusals after which one reads again. */
const MOVED = /"code":"(content_moved|moved)"/;

export class Reviewer {
  #door;
  #headers;

  constructor(door, headers) {
    this.#door = door;
    this.#headers = headers;
  }

  static async signIn(door, link) {
    const answer = await fetch(link, { method: 'POST', redirect: 'manual', headers: { origin: door } });
    assert.equal(answer.status, 303, await answer.text());
    const cookie = answer.headers.getSetCookie()[0].split(';')[0];
    const page = await (await fetch(door, { headers: { cookie } })).text();
    const token = /name="token" value="([^"]+)"/.exec(page)?.[1];
    assert.ok(token, 'the inbox has a form with a token');
    return new Reviewer(door, { cookie, origin: door, 'x-placet-form-token': token });
  }

  approve(id) {
    return this.#vote(id, 'approve', 'read and weighed');
  }

  deny(id, reason) {
    return this.#vote(id, 'deny', reason);
  }

  /** Votes on what is shown. If that moved meanwhile, looks again, as a person would, but not for ever. */
  async #vote(id, verdict, reason, looks = 3) {
    const { request, card_hash: card } = await this.#call(`/v1/reviews/${id}`);
    const { digest, content_version: version } = request;
    const ballot = { verdict, reason, digest, version, card };
    return this.#call(`/v1/reviews/${id}/votes`, ballot).catch((refusal) => {
      if (looks === 1 || !MOVED.test(refusal.message)) throw refusal;
      return this.#vote(id, verdict, reason, looks - 1);
    });
  }

  async #call(path, body) {
    const answer = await fetch(new URL(path, this.#door), {
      method: body ? 'POST' : 'GET',
      headers: { ...this.#headers, ...(body && { 'content-type': 'application/json' }) },
      body: body && JSON.stringify(body),
    });
    const text = await answer.text();
    assert.equal(answer.status, 200, text);
    return JSON.parse(text);
  }
}
