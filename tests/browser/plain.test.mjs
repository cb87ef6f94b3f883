// Without JavaScript everything works, and without a mouse too.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPlacet } from './lib/placet.mjs';
import {
  HINTS,
  approveButton,
  denyButton,
  expectDecided,
  expectGranted,
  go,
  mainOf,
  openReview,
  press,
  reasonField,
  shot,
  signedIn,
  withBrowser,
} from './lib/reviewer.mjs';

withBrowser();

/** More stops than any page of ours has between its top and its last button. */
const TAB_STOPS_MAX = 80;

test('without JavaScript: sign in, approve one, deny one, find both in the history, sign out', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet, { javaScriptEnabled: false });

  const wanted = await placet.askToDeploy({ args: { version: '1.0.0' } });
  await go(page, placet, '/');
  await press(page, inboxLink(page, wanted));
  await press(page, approveButton(page));
  await expectGranted(page);
  assert.equal((await placet.request(wanted.id)).status, 'granted');

  const unwanted = await placet.askToDeploy({ args: { version: '2.0.0' } });
  await press(page, page.getByRole('navigation').getByRole('link', { name: 'Inbox' }));
  await press(page, inboxLink(page, unwanted));
  await reasonField(page).fill('too early');
  await press(page, denyButton(page));
  await expectDecided(page);
  assert.equal((await placet.request(unwanted.id)).status, 'denied');

  await press(page, page.getByRole('navigation').getByRole('link', { name: 'History' }));
  const history = await mainOf(page).innerText();
  for (const request of [wanted, unwanted]) {
    assert.ok(history.includes(request.short_code), `the history lists ${request.short_code}:\n${history}`);
  }
  await shot(page, 'plain-history');

  await press(page, page.getByRole('button', { name: 'Sign out' }));
  assert.equal(await page.getByRole('link', { name: 'History' }).count(), 0);
});

test('without JavaScript: an auditor asks who did what, and finds the entries', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet, { javaScriptEnabled: false });
  const wanted = await placet.askToDeploy({ args: { version: '1.0.0' } });
  await openReview(page, placet, wanted);
  await reasonField(page).fill('looked at it');
  await press(page, approveButton(page));
  const unwanted = await placet.askToDeploy({ args: { version: '2.0.0' } });

  await press(page, page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Audit' }));
  await page.getByLabel('Action', { exact: true }).fill('example.deploy');
  await page.getByLabel('From', { exact: true }).fill('2020-01-01');
  await page.getByLabel('Vote', { exact: true }).selectOption('approve');
  await press(page, page.getByRole('button', { name: 'Search' }));
  const found = await mainOf(page).innerText();
  assert.match(found, /Ada Lovelace approved[^]*looked at it/);
  assert.equal(await page.locator(`main a[href="/r/${wanted.id}"]`).count(), 1);
  assert.equal(await page.locator(`main a[href="/r/${unwanted.id}"]`).count(), 0, 'what was not voted on does not fit');
  assert.equal(await page.getByLabel('From', { exact: true }).inputValue(), '2020-01-01');
  await shot(page, 'plain-audit');

  await press(page, page.getByRole('link', { name: /^Entries / }));
  assert.match(await mainOf(page).innerText(), /request\.received[^]*/);
  assert.match(await mainOf(page).innerText(), /vote\.cast/);

  await go(page, placet, '/audit?by=nobody');
  assert.match(await page.getByRole('status').innerText(), /No agent or person is or was called/);
});

test('live: a new request shows up by itself, and a decided one says so', async (t) => {
  const placet = await startPlacet(t);
  const inbox = await signedIn(t, placet, { live: true });
  const listening = inbox.waitForResponse(HINTS);
  await go(inbox, placet, '/');
  await listening;
  await shot(inbox, 'inbox-empty');

  const request = await placet.askToDeploy();
  await inboxLink(inbox, request).waitFor();

  await placet.cancel(request.id);
  await inboxLink(inbox, request).waitFor({ state: 'detached' });
  assert.deepEqual(inbox.complaints, []);
});

test('keyboard only: from the inbox to a decision', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy();
  await go(page, placet, '/');

  await tabTo(page, inboxLink(page, request));
  await pressEnter(page);
  await tabTo(page, approveButton(page));
  await shot(page, 'keyboard-focus');
  await pressEnter(page);

  await expectGranted(page);
  assert.equal((await placet.request(request.id)).status, 'granted');
});

test('keyboard only: a reason and a denial', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy();
  await openReview(page, placet, request);

  await tabTo(page, reasonField(page));
  await page.keyboard.type('not today');
  await tabTo(page, denyButton(page));
  await pressEnter(page);

  await expectDecided(page);
  assert.equal((await placet.request(request.id)).denial.reason, 'not today');
});

const inboxLink = (page, request) => page.locator(`main a[href$="/r/${request.short_code}"]`).first();

/** Presses Tab until the element has the focus, which must then be visible. */
async function tabTo(page, target) {
  for (let stop = 0; stop < TAB_STOPS_MAX; stop += 1) {
    await page.keyboard.press('Tab');
    if (await target.evaluate((element) => element === document.activeElement)) {
      assert.ok(await target.evaluate(showsFocus), 'who cannot see the focus cannot use the keyboard');
      return;
    }
  }
  assert.fail(`not reached with ${TAB_STOPS_MAX} presses of Tab: ${target}`);
}

function showsFocus(element) {
  const style = getComputedStyle(element);
  const outline = style.outlineStyle !== 'none' && Number.parseFloat(style.outlineWidth) > 0;
  return element.matches(':focus-visible') && (outline || style.boxShadow !== 'none');
}

async function pressEnter(page) {
  const answered = page.waitForResponse((response) => {
    const status = response.status();
    return response.request().isNavigationRequest() && !(status >= 300 && status < 400);
  });
  await page.keyboard.press('Enter');
  await answered;
  await page.waitForLoadState('load');
}
