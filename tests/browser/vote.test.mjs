// A person decides, and the agent hears of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPlacet } from './lib/placet.mjs';
import {
  approveButton,
  denyButton,
  expectDecided,
  expectGranted,
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

  await expectGranted(page);
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

test('two tabs: who denied in one cannot approve in the other', async (t) => {
  const placet = await startPlacet(t);
  const first = await signedIn(t, placet);
  const request = await placet.askToDeploy();
  const second = await frozenTab(t, first);
  for (const page of [first, second]) await openReview(page, placet, request);

  await press(first, denyButton(first));
  await reasonField(second).fill('changed my mind');
  const answer = await press(second, approveButton(second));

  assert.ok(answer.status() >= 400 && answer.status() < 500, `refused, not ${answer.status()}`);
  const said = await mainOf(second).innerText();
  assert.match(said, /already|decided/i);
  assert.ok(said.includes('changed my mind'), 'what was written is not lost');
  await expectDecided(second);
  assert.equal((await placet.request(request.id)).status, 'denied', 'the second vote changed nothing');
  await shot(second, 'double-vote');
});

test('two tabs: the second approval is told that it is decided', async (t) => {
  const placet = await startPlacet(t);
  const first = await signedIn(t, placet);
  const request = await placet.askToDeploy();
  const second = await frozenTab(t, first);
  for (const page of [first, second]) await openReview(page, placet, request);

  await press(first, approveButton(first));
  const { version } = await placet.request(request.id);
  const answer = await press(second, approveButton(second));

  assert.ok(answer.status() >= 400 && answer.status() < 500, `refused, not ${answer.status()}`);
  assert.match(await mainOf(second).innerText(), /already|decided/i);
  const after = await placet.request(request.id);
  assert.deepEqual([after.status, after.version], ['granted', version], 'the second vote changed nothing');
});

test('a late denial stops what was approved, and its reason is shown', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy();

  await openReview(page, placet, request);
  await press(page, approveButton(page));
  await reasonField(page).fill('the wrong branch');
  await shot(page, 'late-denial');
  await press(page, denyButton(page));

  await expectDecided(page);
  assert.ok((await mainOf(page).innerText()).includes('the wrong branch'));
  const decided = await placet.request(request.id);
  assert.deepEqual([decided.status, decided.denial.reason], ['denied', 'the wrong branch']);
});

test('the same button twice: one vote', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy();

  await openReview(page, placet, request);
  await approveButton(page).dblclick({ noWaitAfter: true });
  await approveButton(page).waitFor({ state: 'detached' });

  await page.waitForLoadState('load');
  await expectGranted(page);
  assert.equal((await placet.request(request.id)).status, 'granted');
  const votes = page.getByRole('region', { name: 'Votes' }).getByRole('listitem');
  assert.equal(await votes.count(), 1, 'one vote is on record');
});
