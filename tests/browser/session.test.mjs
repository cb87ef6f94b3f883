// Who is signed in, for how long, and that nobody else's page can use it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FIRST_REVIEWER, startPlacet } from './lib/placet.mjs';
import {
  approveButton,
  go,
  mainOf,
  openContext,
  openPage,
  openReview,
  press,
  shot,
  signedIn,
  withBrowser,
} from './lib/reviewer.mjs';

withBrowser();

test("a link tells whose it is, and looking at it does not use it up", async (t) => {
  const placet = await startPlacet(t);
  const page = await openPage(await openContext(t));
  for (let visit = 0; visit < 3; visit += 1) {
    await page.goto(placet.invitation);
    assert.match(await page.getByRole('heading', { level: 1 }).innerText(), new RegExp(`Sign in as ${FIRST_REVIEWER}`));
  }
  assert.deepEqual(await page.context().cookies(), [], 'nobody is signed in by looking');
  await press(page, page.getByRole('button', { name: 'Sign in' }));
  assert.equal(new URL(page.url()).pathname, '/');
  assert.ok((await page.getByRole('banner').innerText()).includes(FIRST_REVIEWER));
});

test('a link works once: used, it says so and signs nobody in', async (t) => {
  const placet = await startPlacet(t);
  const late = await openPage(await openContext(t));
  await late.goto(placet.invitation);
  await signedIn(t, placet);

  for (const answer of [await press(late, late.getByRole('button', { name: 'Sign in' })), await late.goto(placet.invitation)]) {
    assert.equal(answer.status(), 404);
    assert.match(await mainOf(late).innerText(), /This link does not work\s+It was used/);
  }
  await shot(late, 'link-used');
  assert.deepEqual(await late.context().cookies(), []);
  const answer = await go(late, placet, '/people');
  assert.equal(answer.status(), 401);
  assert.equal(await late.getByRole('button', { name: 'Sign out' }).count(), 0, 'nobody is signed in');
});

test('the session is one cookie that scripts and other sites cannot use', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const cookies = await page.context().cookies();
  assert.equal(cookies.length, 1, JSON.stringify(cookies));
  const [{ httpOnly, sameSite, path, domain, value, expires }] = cookies;
  assert.deepEqual({ httpOnly, sameSite, path, domain }, { httpOnly: true, sameSite: 'Lax', path: '/', domain: 'localhost' });
  assert.ok(value.length >= 32, 'nobody guesses it');
  assert.ok(expires > Date.now() / 1000, 'it ends by itself');
  assert.equal(await page.evaluate(() => document.cookie), '');
  assert.ok(!(await page.content()).includes(value), 'it stands in no page');
});

test('signed out: the pages are closed, and the old cookie opens nothing', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy();
  const kept = await page.context().cookies();

  await press(page, page.getByRole('button', { name: 'Sign out' }));
  assert.match(await page.getByRole('heading', { level: 1 }).innerText(), /not signed in/);
  assert.match(await mainOf(page).innerText(), /placet person invite/, 'the way back in is told');
  assert.deepEqual(await page.context().cookies(), []);

  await page.context().addCookies(kept);
  for (const path of ['/', '/history', '/audit', '/audit/entries', '/policy', '/people', '/agents', `/r/${request.short_code}`]) {
    const answer = await go(page, placet, path);
    assert.equal(answer.status(), 401, path);
    assert.ok(!(await page.content()).includes('example.deploy'), `${path} tells nothing`);
  }
});

test('signing in anew ends the session before', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const [before] = await page.context().cookies();
  await page.goto(await placet.cli(['person', 'invite', FIRST_REVIEWER]));
  await press(page, page.getByRole('button', { name: 'Sign in' }));
  const [after] = await page.context().cookies();
  assert.notEqual(after.value, before.value);

  const stolen = await openContext(t);
  await stolen.addCookies([before]);
  const answer = await go(await openPage(stolen), placet, '/');
  assert.equal(answer.status(), 401);
});

test("another site's page can post nothing, with all cookies and the true token", async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy();
  await openReview(page, placet, request);
  const forms = await page.locator('form[method=post]').evaluateAll((forms) =>
    forms.map((form) => {
      const button = form.querySelector('button');
      return { action: form.action, fields: Object.fromEntries(new FormData(form, button)) };
    }),
  );
  assert.equal(forms.length, 2, 'the vote and the sign-out');
  for (const { action, fields } of [...forms, { action: placet.invitation, fields: {} }]) {
    for (const headers of [{ origin: 'http://elsewhere.test' }, { origin: 'null' }, {}]) {
      const refused = await page.request.post(action, { form: fields, headers, maxRedirects: 0 });
      assert.equal(refused.status(), 403, `${new URL(action).pathname} from ${headers.origin}`);
    }
  }
  const { status } = await placet.request(request.id);
  assert.equal(status, 'pending');
  await openReview(page, placet, request);
  assert.equal(await approveButton(page).count(), 1, 'still signed in, still to be decided');
});

test('a host that is not ours is answered with nothing of ours', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const { port } = new URL(placet.reviewers);
  const answer = await page.request.get(placet.reviewers, { headers: { host: `rebound.test:${port}` } });
  assert.equal(answer.status(), 421);
  assert.ok(!(await answer.text()).includes('Sign out'));
});
