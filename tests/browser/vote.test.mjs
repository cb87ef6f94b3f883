// A person decides, and the agent hears of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPlacet } from './lib/placet.mjs';
import {
  approveButton,
  denyButton,
  expectDecided,
  frozenTab,
  go,
  mainOf,
  openReview,
  press,
  reasonField,
  shot,
  signedIn,
  textOf,
  withBrowser,
} from './lib/reviewer.mjs';

withBrowser();

test('approve: the agent sees the grant', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy({ justification: 'the weekly release' });

  await go(page, placet, '/');
  await press(page, page.locator(`main a[href$="/r/${request.short_code}"]`).first());
  const review = await textOf(page);
  for (const shown of [request.short_code, 'example.deploy', 'production', '1.2.3', 'the weekly release', 'advisory']) {
    assert.ok(review.includes(shown), `the review shows ${shown}:\n${review}`);
  }
  await press(page, approveButton(page));

  await expectDecided(page);
  const decided = await placet.request(request.id);
  assert.equal(decided.status, 'granted');
  assert.ok(decided.grant.expires_at, 'the grant says until when');
  await shot(page, 'approved');
});

test('deny with a reason: the agent sees the denial, and the page the reason', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy();

  await openReview(page, placet, request);
  await reasonField(page).fill('not on a Friday');
  await press(page, denyButton(page));

  await expectDecided(page);
  assert.ok((await mainOf(page).innerText()).includes('not on a Friday'));
  const decided = await placet.request(request.id);
  assert.equal(decided.status, 'denied');
  assert.equal(decided.denial.reason, 'not on a Friday');
  await shot(page, 'denied');
});

test('two tabs: the second is told that it is decided', async (t) => {
  const placet = await startPlacet(t);
  const first = await signedIn(t, placet);
  const request = await placet.askToDeploy();
  const second = await frozenTab(t, first);
  for (const page of [first, second]) await openReview(page, placet, request);

  await press(first, approveButton(first));
  await reasonField(second).fill('changed my mind');
  const answer = await press(second, denyButton(second));

  assert.ok(answer.status() < 500, `a clear page, not ${answer.status()}`);
  assert.match(await mainOf(second).innerText(), /already|decided|granted/i);
  await expectDecided(second);
  assert.equal((await placet.request(request.id)).status, 'granted', 'the second vote changed nothing');
  await shot(second, 'double-vote');
});

test('the same button twice: one vote', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy();

  await openReview(page, placet, request);
  await approveButton(page).dblclick({ noWaitAfter: true });
  await approveButton(page).waitFor({ state: 'detached' });

  await page.waitForLoadState('load');
  assert.equal((await placet.request(request.id)).status, 'granted');
  assert.doesNotMatch(await textOf(page), /internal error/i);
});
