// What holds on each page: no accessibility violation, no sideways scrolling, a strict content security policy.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { visitEveryPage } from './lib/pages.mjs';
import { startPlacet } from './lib/placet.mjs';
import { openContext, openPage, shot, withBrowser } from './lib/reviewer.mjs';

withBrowser();

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const DESK = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
const LOOKS = [
  { look: 'light', colorScheme: 'light', size: DESK },
  { look: 'dark', colorScheme: 'dark', size: DESK },
  { look: 'phone', colorScheme: 'light', size: PHONE },
  { look: 'phone-dark', colorScheme: 'dark', size: PHONE },
];

test('every page is accessible and fits, in light and dark, at a desk and on a phone', async (t) => {
  const placet = await startPlacet(t);
  const findings = [];
  // Half-way through a transition, colours are nobody's choice.
  const context = await openContext(t, { reducedMotion: 'reduce' });
  await visitEveryPage(context, placet, async (page, at) => {
    await page.evaluate(AXE);
    for (const { look, colorScheme, size } of LOOKS) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize(size);
      await shot(page, `${at}-${look}`);
      for (const finding of await violations(page)) findings.push(`${at}, ${look}: ${finding}`);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) findings.push(`${at}, ${look}: scrolls sideways by ${over} px`);
    }
    findings.push(...page.complaints.map((complaint) => `${at}: ${complaint}`));
  });
  assert.deepEqual(findings, []);
});

test('the accessibility check finds what is not accessible', async (t) => {
  const page = await openPage(await openContext(t));
  await page.setContent('<!doctype html><html lang="en"><title>t</title><main><h1>h</h1><input></main>');
  await page.evaluate(AXE);
  assert.match((await violations(page)).join(), /^label: /);
  await page.setContent('<!doctype html><html lang="en"><title>t</title><main><h1>h</h1><p style="color:#aaa">pale</p></main>');
  await page.evaluate(AXE);
  assert.match((await violations(page)).join(), /^color-contrast: /);
});

test('dark is dark and light is light', async (t) => {
  const placet = await startPlacet(t);
  const brightness = {};
  for (const colorScheme of ['light', 'dark']) {
    const page = await (await openContext(t, { colorScheme })).newPage();
    await page.goto(placet.invitation);
    brightness[colorScheme] = await page.evaluate(backgroundBrightness);
  }
  assert.ok(brightness.light > 200 && brightness.dark < 60, JSON.stringify(brightness));
});

test('every page has names for people and headers for browsers', async (t) => {
  const placet = await startPlacet(t);
  const context = await openContext(t);
  const answers = new Map();
  context.on('response', (response) => {
    if (response.request().isNavigationRequest()) answers.set(response.url(), response);
  });
  const titles = new Map();
  const complaints = [];
  await visitEveryPage(context, placet, async (page, at) => {
    const title = await page.title();
    assert.ok(title.length > 0, `${at} has a title`);
    titles.set(at, title);
    assert.equal(await page.getByRole('heading', { level: 1 }).count(), 1, `${at} has one first heading`);
    assert.equal(await page.getByRole('main').count(), 1, `${at} has one main region`);
    assert.equal(await page.locator('html').getAttribute('lang'), 'en', `${at} says its language`);
    const answer = answers.get(page.url().split('#')[0]);
    assert.ok(answer, `the answer for ${at}`);
    complaints.push(...headerComplaints(await answer.allHeaders()).map((complaint) => `${at}: ${complaint}`));
    complaints.push(...page.complaints.map((complaint) => `${at}: ${complaint}`));
  });
  assert.notEqual(titles.get('inbox'), titles.get('history'), 'tabs can be told apart');
  assert.ok(titles.size >= 15, `pages were seen: ${[...titles.keys()]}`);
  assert.deepEqual(complaints, []);
});

test('the header check finds what is not strict', () => {
  const strict = {
    'content-security-policy':
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
      "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
  };
  assert.deepEqual(headerComplaints(strict), []);
  assert.equal(headerComplaints({}).length > 4, true);
  for (const [from, to] of [
    ["script-src 'self'", "script-src 'self' 'unsafe-inline'"],
    ["script-src 'self'", 'script-src https:'],
    ["style-src 'self'", "style-src 'unsafe-inline'"],
    ["default-src 'none'", "default-src 'self'"],
    ["base-uri 'none'; ", ''],
    ["form-action 'self'", 'form-action *'],
    ["; frame-ancestors 'none'", ''],
  ]) {
    const policy = strict['content-security-policy'].replace(from, to);
    assert.equal(headerComplaints({ ...strict, 'content-security-policy': policy }).length, 1, to || from);
  }
});

async function violations(page) {
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${id}: ${help}: ${node.target.join(' ')}: ${node.failureSummary}`),
  );
}

function backgroundBrightness() {
  const solid = [document.body, document.documentElement]
    .map((element) => getComputedStyle(element).backgroundColor.match(/[\d.]+/g).map(Number))
    .find(([, , , alpha = 1]) => alpha > 0);
  // Nothing painted: the canvas itself, as the page's colour scheme has it.
  const dark = getComputedStyle(document.documentElement).colorScheme.includes('dark');
  const [red, green, blue] = solid ?? (dark && matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18] : [255, 255, 255]);
  return (red + green + blue) / 3;
}

/** What is wrong with the headers of a page; each source that we accept is named, anything else is a complaint. */
function headerComplaints(headers) {
  const complaints = [];
  const directives = new Map(
    (headers['content-security-policy'] ?? '')
      .split(';')
      .map((directive) => directive.trim().split(/\s+/))
      .map(([name, ...sources]) => [name, sources]),
  );
  const expect = (name, allowed) => {
    const sources = directives.get(name);
    if (!sources) complaints.push(`no ${name}`);
    else if (!sources.every((source) => allowed.some((rule) => rule.test(source)))) {
      complaints.push(`${name} ${sources.join(' ')}`);
    }
  };
  const none = /^'none'$/;
  const self = /^'self'$/;
  const exact = /^'(nonce|sha256|sha384|sha512)-[A-Za-z0-9+/_=-]+'$/;
  expect('default-src', [none]);
  expect('base-uri', [none]);
  expect('frame-ancestors', [none]);
  expect('form-action', [self, none]);
  for (const name of ['script-src', 'style-src', 'img-src', 'connect-src', 'font-src', 'object-src', 'worker-src']) {
    // What is not named falls back to default-src, which is none.
    if (directives.has(name)) expect(name, [none, self, exact]);
  }
  if (headers['x-content-type-options'] !== 'nosniff') complaints.push('no nosniff');
  if (!/^(no-referrer|same-origin)$/.test(headers['referrer-policy'] ?? '')) complaints.push('tells others where we were');
  if (!/no-store/.test(headers['cache-control'] ?? '')) complaints.push('may be kept in a cache');
  return complaints;
}
