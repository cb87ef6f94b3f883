// The review shows everything that a person decides on, and how far the others are.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { FIRST_REVIEWER, startPlacet } from './lib/placet.mjs';
import {
  approveButton,
  denyButton,
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

const PROGRAM = '/usr/bin/wc';

test('a command: program and its hash, environment, secrets, inputs, run-as and grade', async (t) => {
  const placet = await startPlacet(t);
  await placet.cli(['secret', 'set', 'shop-password'], { stdin: 'the first one is old' });
  await placet.cli(['secret', 'set', 'shop-password'], { stdin: 'correct horse battery' });
  await placet.changePolicy(['runner.toml', 'danger_same_user = true', RUNNER]);
  const page = await signedIn(t, placet);
  const plan = await placet.upload('the plan');
  const stdin = await placet.upload('what it reads');
  const request = await placet.askToRun({
    argv: ['wc', '-c', 'plan.txt', 'two words', ''],
    justification: 'counting for the weekly report',
    inputs: [{ name: 'plan.txt', sha256: plan }],
    stdin,
  });

  await openReview(page, placet, request);

  const what = page.getByRole('region', { name: 'What exactly' });
  const program = createHash('sha256').update(await readFile(PROGRAM)).digest('hex');
  const call = what.locator('h3:has-text("The intercepted call") + .words');
  for (const [term, value] of [
    ['argv[0]', 'wc'],
    ['argv[3]', 'two words'],
    ['argv[4]', 'empty'],
  ]) {
    assert.equal(await fact(call, term), value, term);
  }
  const pins = what.locator('h3:has-text("Pinned") + dl');
  for (const [term, value] of [
    ['program', PROGRAM],
    ['program sha256', program],
    ['environment LANG', 'C.UTF-8'],
    ['environment REPORT', 'weekly'],
    ['secret in SHOP_PASSWORD', 'shop-password@2'],
    ['input plan.txt', `sha256 ${plan}`],
    ['standard input', `sha256 ${stdin}`],
    ['runs as', 'root'],
  ]) {
    assert.equal(await fact(pins, term), value, term);
  }
  assert.match(await what.innerText(), /advisory: The requester could act without waiting/);
  assert.ok((await page.getByRole('region', { name: 'Why it asks' }).innerText()).includes('weekly report'));
  assert.doesNotMatch(await page.content(), /correct horse/, 'a secret has a name and a version, and no value');

  const canonical = page.getByRole('region', { name: 'Canonical bytes' });
  assert.equal(await canonical.isVisible(), false, 'long bytes are folded away');
  await page.getByText('The canonical bytes').click();
  assert.equal(await canonical.innerText(), request.canonical);
  await shot(page, 'review-command');
});

test('who asks, on whose behalf, why people are asked, until when: above the buttons', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy({ justification: 'the fix is in it' });

  await openReview(page, placet, request);

  const title = await page.getByRole('heading', { level: 1 }).innerText();
  assert.match(title, /example\.deploy on Example::"production"/);
  const main = await mainOf(page).innerText();
  for (const shown of [
    `The agent first-agent asks, on behalf of ${FIRST_REVIEWER}.`,
    `code ${request.short_code}`,
    'Deployment to production',
    'Production serves real people.',
    'resource.environment is production',
    '1 from reviewers',
    '0 of 1 reviewers',
  ]) {
    assert.ok(main.includes(shown), `the review shows ${shown}:\n${main}`);
  }
  assert.match(main, /expires in (29|30) min/);
  const claimed = page.getByRole('region', { name: 'Why it asks' });
  assert.match(await claimed.innerText(), /The agent's words: nobody checked them\s+the fix is in it/);
  const order = await page.evaluate(() =>
    [...document.querySelectorAll('main h1, main h2, main button')].map((element) => element.textContent.trim()),
  );
  for (const [before, after] of [
    ['What exactly', 'Why it asks'],
    ['Why it asks', 'Why people are asked'],
    ['Who asks', 'Votes so far'],
    ['Votes so far', 'Approve'],
    ['Approve', 'Evidence'],
  ]) {
    assert.ok(order.includes(before) && order.indexOf(before) < order.indexOf(after), `${before}, ${after}: ${order}`);
  }
});

test('two votes are needed: the first is shown with what is missing, the second completes it', async (t) => {
  const placet = await startPlacet(t, { starter: 'team' });
  const links = { ben: await placet.addReviewer('Ben Okri'), cleo: await placet.addReviewer('Cleo Ruiz') };
  // The bundle's own tests are about one vote, and a bundle whose tests fail is not taken.
  await placet.changePolicy(['ask.cedar', 'approvals.reviewers >= 1', 'approvals.reviewers >= 2'], ['tests/deploy.toml']);
  const request = await placet.askToDeploy();
  const ben = await signedIn(t, placet, { link: links.ben });

  await openReview(ben, placet, request);
  assert.match(await decision(ben).innerText(), /0 of 2 reviewers\s+missing for Deployment to production/);
  await reasonField(ben).fill('read the diff');
  await press(ben, approveButton(ben));

  assert.match(await mainOf(ben).innerText(), /Your approval is on record/);
  assert.match(await decision(ben).innerText(), /1 of 2 reviewers/);
  assert.equal(await approveButton(ben).count(), 0, 'nobody approves twice');
  assert.match(await decision(ben).innerText(), /You have approved it/);
  assert.equal((await placet.request(request.id)).status, 'pending');
  await shot(ben, 'review-half');

  const cleo = await signedIn(t, placet, { link: links.cleo });
  assert.match(await mainOf(cleo).innerText(), /Votes: 1 of 2 reviewers/);
  await openReview(cleo, placet, request);
  const votes = await cleo.getByRole('region', { name: 'Votes', exact: true }).innerText();
  assert.match(votes, /Ben Okri approved/);
  assert.ok(votes.includes('read the diff') && votes.includes('assurance L1'), votes);
  await press(cleo, approveButton(cleo));

  await expectGranted(cleo);
  assert.equal((await placet.request(request.id)).status, 'granted');
});

test('alone: the self-review is announced before and marked after', async (t) => {
  const placet = await startPlacet(t, { starter: 'solo' });
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy();

  await openReview(page, placet, request);
  assert.match(await page.locator('.review-head').innerText(), /self-review/);
  assert.match(await decision(page).innerText(), /This is your own agent's request[^]*self-reviewed/);
  await press(page, approveButton(page));

  const votes = page.getByRole('region', { name: 'Votes', exact: true });
  assert.match(await votes.innerText(), /Ada Lovelace approved[^]*self-reviewed/);
  await go(page, placet, `/audit/entries?kind=vote.cast`);
  assert.match(await mainOf(page).innerText(), /Ada Lovelace approved it[^]*reviewing what is their own agent's/);
});

test('in a team: the sponsor reads everything, and is told why they cannot decide', async (t) => {
  const placet = await startPlacet(t, { starter: 'team' });
  await placet.addReviewer('Ben Okri');
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy();

  await go(page, placet, '/');
  const others = page.getByRole('region', { name: /^Waiting for others/ });
  assert.ok((await others.innerText()).includes(request.short_code), 'it waits, but not for them');
  await openReview(page, placet, request);

  assert.equal(await approveButton(page).count(), 0);
  assert.equal(await denyButton(page).count(), 0);
  assert.match(await decision(page).innerText(), /You cannot vote on this: nobody decides on what is theirs/);
  assert.match(await decision(page).innerText(), /0 of 1 reviewers/, 'what is missing is for everybody to see');
  assert.doesNotMatch(await page.locator('.review-head').innerText(), /self-review/);
  await shot(page, 'review-sponsor');
});

test('carried out: the outcome is shown as the word of whoever told it', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy();
  await openReview(page, placet, request);
  await press(page, approveButton(page));
  await placet.carryOut(request, { outcome: 'succeeded', summary: 'deployed 1.2.3', measures: { duration_ms: 4213 } });

  await go(page, placet, `/r/${request.id}`);

  const stands = await page.getByRole('region', { name: 'Where it stands' }).innerText();
  for (const shown of ['It was carried out.', "The agent's words", 'reported by agent', 'deployed 1.2.3', '4213']) {
    assert.ok(stands.includes(shown), `${shown}:\n${stands}`);
  }
  assert.equal(await denyButton(page).count(), 0, 'what has happened cannot be stopped');
  await shot(page, 'review-succeeded');
});

test('an unknown outcome asks a person to find out, and keeps what they found', async (t) => {
  const placet = await startPlacet(t);
  const page = await signedIn(t, placet);
  const request = await placet.askToDeploy();
  await openReview(page, placet, request);
  await press(page, approveButton(page));
  await placet.carryOut(request, { outcome: 'unknown', summary: 'lost contact' });

  await go(page, placet, `/r/${request.id}`);
  assert.match(await mainOf(page).innerText(), /nobody knows how it ended/i);
  await shot(page, 'review-unknown');
  await page.getByRole('textbox', { name: 'What you found out' }).fill('it is deployed');
  await press(page, page.getByRole('button', { name: 'Record it' }));

  assert.match(await mainOf(page).innerText(), /What really happened: it is deployed/);
  assert.equal(await page.getByRole('button', { name: 'Record it' }).count(), 0);
});

const decision = (page) => page.getByRole('complementary');

/** What a list of facts says under this term. */
async function fact(region, term) {
  const pairs = await region
    .locator('div:has(> dt)')
    .evaluateAll((rows) => rows.map((row) => ['dt', 'dd'].map((tag) => row.querySelector(tag).textContent.trim())));
  const found = pairs.filter(([name]) => name === term).map(([, value]) => value);
  assert.equal(found.length, 1, `${term} once among ${JSON.stringify(pairs)}`);
  return found[0];
}

/** A program with an environment of its own and a secret, by the bundle's word alone. */
const RUNNER = `danger_same_user = true

[environment]
LANG = "C.UTF-8"

[[program]]
name = "wc"
path = "${PROGRAM}"
environment = { REPORT = "weekly" }

[[secret]]
env = "SHOP_PASSWORD"
secret = "shop-password"
program = "wc"
target = { action = "command.run", resource = 'Program::"wc"' }
`;
