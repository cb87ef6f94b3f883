// A reviewer at a browser: Debian's chromium, one fresh profile per test, steered by what a person can see.
// Pages are found by headings, labels and links, so that a page which loses its names for people fails here.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';

const CHROMIUM = process.env.PLACET_CHROMIUM ?? '/usr/bin/chromium';
const SHOTS = fileURLToPath(new URL('../shots/', import.meta.url));
/** How long a page may take to show what it should; far above what it takes, so that a slow machine is no failure. */
const PATIENCE_MS = 20_000;

/** Where pages hear that something has changed. */
export const HINTS = /\/v1\/reviews\/events$/;

let browser;

/** One browser for the tests of a file; each test has contexts of its own in it. */
export function withBrowser() {
  before(async () => {
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      headless: true,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--disable-dev-shm-usage',
      ],
    });
  });
  after(() => browser?.close());
}

/**
 * Opens a context: a person's browser with its own cookies. Unless it is `live`, it hears no hints: a page that changes
 * by itself is the subject of one test and would be chance in all others.
 */
export async function openContext(t, { live = false, ...options } = {}) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  context.setDefaultTimeout(PATIENCE_MS);
  // "No content" tells an event source to end without an error and not to come back.
  if (!live) await context.route(HINTS, (route) => route.fulfill({ status: 204 }));
  return context;
}

/** Opens a page that remembers what went wrong in it. */
export async function openPage(context) {
  const page = await context.newPage();
  page.complaints = [];
  page.on('pageerror', (error) => page.complaints.push(`script: ${error.message}`));
  page.on('console', (message) => {
    if (/Content.Security.Policy|Refused to/i.test(message.text())) page.complaints.push(message.text());
  });
  // A dialog means that somebody's text was executed.
  page.on('dialog', (dialog) => {
    page.complaints.push(`dialog: ${dialog.message()}`);
    return dialog.dismiss();
  });
  return page;
}

/** Follows a sign-in link, the invitation unless another is given, and signs in. Returns the page, signed in. */
export async function signIn(context, placet, link = placet.invitation) {
  const page = await openPage(context);
  await page.goto(link);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation').first().waitFor();
  return page;
}

/** A browser signed in with the invitation, or with another `link`, at the inbox. */
export async function signedIn(t, placet, { link, ...options } = {}) {
  return signIn(await openContext(t, options), placet, link);
}

/**
 * A second tab of the same session that runs no scripts, so it keeps the form it has, as a tab does that was asleep
 * while somebody else decided.
 */
export async function frozenTab(t, page) {
  const storageState = await page.context().storageState();
  return openPage(await openContext(t, { storageState, javaScriptEnabled: false }));
}

/** Opens a path of the reviewers' door and returns the response. */
export async function go(page, placet, path) {
  const response = await page.goto(new URL(path, placet.reviewers).href);
  assert.ok(response, `an answer for ${path}`);
  return response;
}

/** Opens the review of a request, as its link says. */
export async function openReview(page, placet, request) {
  const response = await go(page, placet, `/r/${request.short_code}`);
  assert.equal(response.status(), 200);
  await page.getByRole('heading', { level: 1 }).waitFor();
}

export const approveButton = (page) => page.getByRole('button', { name: 'Approve', exact: true });
export const denyButton = (page) => page.getByRole('button', { name: 'Deny', exact: true });
export const reasonField = (page) => page.getByRole('textbox', { name: /^Reason/ });

/** Presses a button and waits for the page that answers. Returns the last response of the chain. */
export async function press(page, button) {
  const answered = page.waitForResponse(
    (response) => response.request().isNavigationRequest() && !isRedirect(response.status()),
  );
  await button.click();
  const response = await answered;
  await page.waitForLoadState('load');
  return response;
}

const isRedirect = (status) => status >= 300 && status < 400;

/** The text of the page as a person reads it. */
export const textOf = (page) => page.locator('body').innerText();

/** The one region that is about this page, without header and navigation. */
export const mainOf = (page) => page.getByRole('main');

/** Fails unless the page shows a granted review: nobody approves it again, and until it is carried out one may deny. */
export async function expectGranted(page) {
  assert.equal(await approveButton(page).count(), 0, 'a granted review offers no Approve');
  assert.equal(await denyButton(page).count(), 1, 'what was not carried out yet can be stopped');
  const main = await mainOf(page).innerText();
  assert.match(main, /may be carried out once/, 'what was granted is said');
  assert.match(main, /denial still stops it/, 'what a denial would do is said');
}

/** Fails unless the page shows a decided review: no vote is offered any more. */
export async function expectDecided(page) {
  assert.equal(await approveButton(page).count(), 0, 'a decided review offers no Approve');
  assert.equal(await denyButton(page).count(), 0, 'a decided review offers no Deny');
}

/** Keeps a picture of the page when SHOTS=1, for people to look at. */
export async function shot(page, name) {
  if (process.env.SHOTS !== '1') return;
  await mkdir(SHOTS, { recursive: true });
  await page.screenshot({ path: `${SHOTS}${name}.png`, fullPage: true });
}
