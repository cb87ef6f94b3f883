// What an agent wrote is shown to people as text, whole and visible, and is never more than text.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPlacet } from './lib/placet.mjs';
import { approveButton, go, mainOf, openReview, press, shot, signedIn, textOf, withBrowser } from './lib/reviewer.mjs';

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
    args: { markup: MARKUP, script: SCRIPT, turned: TURNED, hidden: ZERO_WIDTH, template: TEMPLATE, [MARKUP]: 'key' },
    justification: `${MARKUP} ${LINK} ${TURNED} ${ZERO_WIDTH}\n\nApproved by: the board`,
  });

  await go(page, placet, '/');
  await harmless(page, 'inbox');
  await openReview(page, placet, request);
  await harmless(page, 'review-hostile');
  const review = await mainOf(page).innerText();
  assert.ok(review.includes('<img src=x onerror='), `markup stands there as text:\n${review}`);
  assert.ok(review.includes('</script><script>'), `so does a script:\n${review}`);
  assert.ok(review.includes('&lt;b&gt;'), `what was escaped before is not unescaped:\n${review}`);
  assert.ok(review.includes('{{ 7 * 7 }}'), `nothing is a template:\n${review}`);
  assert.match(review, /\\u\{202e\}|\\u202e/i, 'the turning character is visible');
  assert.match(review, /\\u\{200b\}|\\u200b/i, 'the character without width is visible');
  assert.equal(await approveButton(page).count(), 1, 'nobody adds a button of their own');
  assert.equal(await page.getByRole('link', { name: 'Approve' }).count(), 0);

  await press(page, approveButton(page));
  await harmless(page, 'review-hostile-decided');
  for (const path of ['/history', '/audit', '/agents', `/audit?q=${encodeURIComponent(MARKUP)}`]) {
    await go(page, placet, path);
    await harmless(page, path);
  }
});

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
