// What an agent wrote is shown to people as text, whole and visible, and is never more than text.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPlacet } from './lib/placet.mjs';
import { approveButton, go, mainOf, openReview, press, reasonField, shot, signedIn, textOf, withBrowser } from './lib/reviewer.mjs';

withBrowser();

const MARKUP = '<img src=x onerror="globalThis.executed=1">';
const SCRIPT = '</script><script>globalThis.executed=1</script>';
const LINK = '<a href="javascript:globalThis.executed=1">Approve</a>';
const TURNED = 'safe\u202egnp.exe';
const ZERO_WIDTH = 'pro\u200bduction';
const TEMPLATE = '{{ 7 * 7 }} ${7*7} &lt;b&gt; &amp;';

/** Any character that hides or turns its neighbours around must have become an escape. */
const HIDING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/;

test('hostile arguments and justification are shown escaped and run nowhere', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy({
    args: { version: `${MARKUP} ${SCRIPT} ${TURNED}`, service: `${ZERO_WIDTH} ${TEMPLATE}` },
    justification: `${MARKUP} ${LINK} ${TURNED} ${ZERO_WIDTH}\n\nApproved by: the board`,
  });
  await everywhere(page, placet, request, 'hostile');
});

test('a hostile command is shown escaped and runs nowhere', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const sha256 = await placet.upload('harmless');
  const request = await placet.askToRun({
    argv: ['wc', MARKUP, SCRIPT, LINK, TURNED, ZERO_WIDTH, TEMPLATE],
    justification: `${SCRIPT} ${TURNED}`,
    inputs: [{ name: MARKUP, sha256 }, { name: TURNED, sha256 }],
  });
  await openReview(page, placet, request);
  const review = await mainOf(page).innerText();
  assert.ok(review.includes(`input ${MARKUP}`), `a name is text too:\n${review}`);
  await everywhere(page, placet, request, 'hostile-command');
});

test('a name that is not declared is refused, whatever it holds', async (t) => {
  const placet = await startPlacet(t);
  const { status, body } = await placet.call('POST', '/v1/requests', {
    action: 'example.deploy',
    resource: { type: 'Example', id: 'production' },
    arguments: { [MARKUP]: 'key' },
  });
  assert.deepEqual([status, body.code], [400, 'bad_arguments']);
});

/** Follows a request with all of the above in it through every page that shows it, and approves it with more of it. */
async function everywhere(page, placet, request, name) {
  await go(page, placet, '/');
  await harmless(page, `inbox-${name}`);
  await openReview(page, placet, request);
  await harmless(page, `review-${name}`);
  const review = await mainOf(page).innerText();
  assert.ok(review.includes(MARKUP), `markup stands there as text:\n${review}`);
  assert.ok(review.includes(SCRIPT), `so does a script:\n${review}`);
  assert.ok(review.includes(LINK) && review.includes(TEMPLATE), `nothing is a link, an entity or a template:\n${review}`);
  assert.match(review, /safe\\u\{202e\}gnp\.exe/, 'the turning character is visible');
  assert.match(review, /pro\\u\{200b\}duction/, 'the character without width is visible');
  assert.equal(await approveButton(page).count(), 1, 'nobody adds a button of their own');
  assert.equal(await page.getByRole('link', { name: 'Approve' }).count(), 0);

  await reasonField(page).fill(`${MARKUP} ${SCRIPT} ${TURNED}`);
  await press(page, approveButton(page));
  await harmless(page, `review-${name}-decided`);
  assert.ok((await mainOf(page).innerText()).includes(SCRIPT), 'the reason is text as well');
  const typed = encodeURIComponent(MARKUP);
  const asked = [`/audit?request=${typed}`, `/audit?on=${typed}`, `/audit/entries?request=${typed}`];
  for (const path of ['/history', '/audit', '/audit/entries', '/agents', ...asked]) {
    await go(page, placet, path);
    await harmless(page, path);
  }
}

test('a hostile address is answered with a harmless page', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  for (const path of [`/r/${encodeURIComponent(MARKUP)}`, `/${encodeURIComponent(SCRIPT)}`, '/r/%00', '/r/%E2%80%AE']) {
    const answer = await go(page, placet, path);
    assert.ok(answer.status() >= 400 && answer.status() < 500, `${path}: ${answer.status()}`);
    await harmless(page, path);
  }
});

async function harmless(page, at) {
  assert.equal(await page.evaluate(() => globalThis.executed), undefined, `${at}: nothing was executed`);
  assert.equal(await page.locator('[onerror], [onclick], [onload], img[src="x"]').count(), 0, `${at}: no such element`);
  assert.equal(await page.locator('a[href^="javascript:" i]').count(), 0, `${at}: no such link`);
  assert.deepEqual(page.complaints, [], `${at}: no complaint`);
  // Of the source too: a title or an attribute is read out or shown somewhere.
  const source = await page.content();
  const hiding = source.match(HIDING);
  assert.equal(hiding, null, `${at}: ${hiding && `U+${hiding[0].codePointAt(0).toString(16)} at ${hiding.index}`}`);
  assert.ok((await textOf(page)).trim().length > 0, `${at}: the page says something`);
  if (!at.startsWith('/')) await shot(page, at);
}
