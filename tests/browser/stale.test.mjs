// A form that is no longer true: whatever moved meanwhile, the vote does not count and the page says why.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPlacet } from './lib/placet.mjs';
import {
  approveButton,
  expectDecided,
  frozenTab,
  go,
  mainOf,
  openReview,
  press,
  shot,
  signedIn,
  withBrowser,
} from './lib/reviewer.mjs';

withBrowser();

test('withdrawn meanwhile: the vote is told so', async (t) => {
  const placet = await startPlacet(t);
  const page = await frozenTab(t, await signedIn(t, placet));
  const request = await placet.askToDeploy();
  await openReview(page, placet, request);

  await placet.cancel(request.id);
  const answer = await press(page, approveButton(page));

  assert.ok(answer.status() < 500, `a clear page, not ${answer.status()}`);
  assert.match(await mainOf(page).innerText(), /cancelled|withdrawn/i);
  await expectDecided(page);
  assert.equal((await placet.request(request.id)).status, 'cancelled');
  await shot(page, 'stale-withdrawn');
});

for (const [field, altered] of [
  ['version', '999'],
  ['digest', `sha256:${'0'.repeat(64)}`],
]) {
  test(`a form for another ${field}: nothing is decided`, async (t) => {
    const placet = await startPlacet(t);
    const page = await frozenTab(t, await signedIn(t, placet));
    const request = await placet.askToDeploy();
    await openReview(page, placet, request);

    await alterField(page, field, altered);
    const answer = await press(page, approveButton(page));

    assert.ok(answer.status() < 500, `a clear page, not ${answer.status()}`);
    assert.equal((await placet.request(request.id)).status, 'pending');
    assert.ok((await page.getByRole('heading', { level: 1 }).innerText()).length > 0);
    assert.ok((await page.getByRole('link').count()) > 0, 'there is a way on');
    await shot(page, `stale-${field}`);
  });
}

test('a form without its token, or from elsewhere: nothing is decided', async (t) => {
  const placet = await startPlacet(t);
  const signed = await signedIn(t, placet);
  const request = await placet.askToDeploy();

  const page = await frozenTab(t, signed);
  await openReview(page, placet, request);
  for (const field of await hiddenFields(page)) {
    if (!['version', 'digest', 'card', 'verdict'].includes(field)) await alterField(page, field, 'forged');
  }
  const answer = await press(page, approveButton(page));
  assert.ok(answer.status() >= 400 && answer.status() < 500, `refused, not ${answer.status()}`);
  assert.equal((await placet.request(request.id)).status, 'pending');

  // The whole form with its true token and the person's cookies, but another site's page sent it.
  const honest = await frozenTab(t, signed);
  await openReview(honest, placet, request);
  const { action, fields } = await voteForm(honest).evaluate((form) => {
    const approve = [...form.querySelectorAll('button')].find((button) => button.textContent.trim() === 'Approve');
    return { action: form.action, fields: Object.fromEntries(new FormData(form, approve)) };
  });
  for (const origin of ['http://elsewhere.test', 'null']) {
    const refused = await honest.request.post(action, { form: fields, headers: { origin }, maxRedirects: 0 });
    assert.ok(refused.status() >= 400 && refused.status() < 500, `from ${origin}: refused, not ${refused.status()}`);
    assert.equal((await placet.request(request.id)).status, 'pending');
  }
  // The same bytes from here do count, so it was the origin that was refused.
  const { origin } = new URL(action);
  await honest.request.post(action, { form: fields, headers: { origin }, maxRedirects: 0 });
  assert.equal((await placet.request(request.id)).status, 'granted');
});

test('a page of a person who signed out asks for a sign-in and decides nothing', async (t) => {
  const placet = await startPlacet(t);
  const signed = await signedIn(t, placet);
  const request = await placet.askToDeploy();
  const page = await frozenTab(t, signed);
  await openReview(page, placet, request);

  await go(signed, placet, '/');
  await press(signed, signed.getByRole('button', { name: 'Sign out' }));
  const answer = await press(page, approveButton(page));

  assert.ok(answer.status() < 500, `a clear page, not ${answer.status()}`);
  assert.equal((await placet.request(request.id)).status, 'pending');
  await go(page, placet, `/r/${request.short_code}`);
  assert.equal(await approveButton(page).count(), 0);
});

const voteForm = (page) => page.locator('form').filter({ has: approveButton(page) });

async function hiddenFields(page) {
  const fields = await voteForm(page).locator('input[type=hidden]').all();
  const names = await Promise.all(fields.map((field) => field.getAttribute('name')));
  assert.ok(names.length > 0, 'the form names what it decides');
  return names;
}

async function alterField(page, name, value) {
  const field = voteForm(page).locator(`input[type=hidden][name="${name}"]`);
  assert.equal(await field.count(), 1, `the form names its ${name}`);
  await field.evaluate((input, text) => input.setAttribute('value', text), value);
}
