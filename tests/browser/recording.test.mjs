// What a program wrote: played, read without a script, and steering nobody.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { startPlacet } from './lib/placet.mjs';
import { approveButton, frozenTab, go, mainOf, openReview, press, shot, signedIn, withBrowser } from './lib/reviewer.mjs';

withBrowser();

const HOSTILE = [
  "printf 'first\\n'; sleep 0.2",
  "printf '<img src=x onerror=alert(1)>\\033[31mred\\033[0m \\033]0;title\\007 \\342\\200\\256evil\\n' >&2; sleep 0.2",
  "printf 'last\\n'; exit 3",
].join('; ');
/** How the second line has to look: nothing hides, nothing is markup. */
const SHOWN = '<img src=x onerror=alert(1)>red \\u{1b}]0;title\\u{7} \\u{202e}evil';

async function recorded(t) {
  const placet = await startPlacet(t);
  await placet.changePolicy(['runner.toml', 'danger_same_user = true', 'danger_same_user = true\nrecord = "all"']);
  const page = await signedIn(t, placet);
  const request = await placet.askToRun({ argv: ['/bin/bash', '-c', HOSTILE], justification: 'to see' });
  await openReview(page, placet, request);
  assert.match(await mainOf(page).innerText(), /everything it writes, its output too/, 'what is kept is on the card');
  await press(page, approveButton(page));
  await placet.runToTheEnd(request);
  await go(page, placet, `/r/${request.id}`);
  return { placet, page, request };
}

test('a recording is played, with the keyboard too, and can be taken away', async (t) => {
  const { placet, page, request } = await recorded(t);
  await press(page, page.getByRole('link', { name: 'What the program wrote' }));
  const play = page.getByRole('button', { name: 'Play' });
  await play.waitFor();
  const screen = page.getByRole('region', { name: 'Played output' });
  const position = page.getByRole('slider', { name: 'Position' });
  assert.equal(await screen.innerText(), '', 'nothing plays by itself');

  await page.getByRole('combobox', { name: 'Speed' }).selectOption('16');
  await play.click();
  await page.getByText('placet: the program ended with exit code 3').first().waitFor();
  await play.waitFor();
  const whole = await screen.innerText();
  assert.equal(whole.trim(), `first\n${SHOWN}\nlast`);
  await shot(page, 'recording-played');

  await screen.focus();
  await page.keyboard.press('Home');
  assert.equal(await position.inputValue(), '0');
  assert.ok(!(await screen.innerText()).includes('last'));
  await page.keyboard.press('End');
  assert.equal(await screen.innerText(), whole, 'the same again, in one step');
  await page.keyboard.press('ArrowLeft');
  assert.equal(await position.inputValue(), '0', 'five seconds back is the beginning');
  const told = await screen.evaluate((element) => {
    const space = () => {
      element.dispatchEvent(new KeyboardEvent('keydown', { key: ' ', bubbles: true }));
      return document.querySelector('[data-play]').textContent;
    };
    return [space(), space()];
  });
  assert.deepEqual(told, ['Pause', 'Play'], 'the space bar plays and pauses');
  await position.focus();
  await page.keyboard.press('End');
  assert.equal(await screen.innerText(), whole, 'the slider has its own keys');

  const downloading = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Download the recording' }).click();
  const download = await downloading;
  assert.match(download.suggestedFilename(), /^exe_\w+\.cast$/);
  const sha256 = createHash('sha256').update(await readFile(await download.path())).digest('hex');
  assert.equal(sha256, (await placet.request(request.id)).outcome.recording.sha256, 'the hash of the outcome');
  assert.ok((await mainOf(page).innerText()).includes(sha256), 'and it is on the page');
  assert.deepEqual(page.complaints, []);
});

test('without JavaScript a recording is read', async (t) => {
  const { placet, page, request } = await recorded(t);
  const plain = await frozenTab(t, page);
  await go(plain, placet, `/r/${request.id}/recording`);
  assert.equal(await plain.getByRole('button', { name: 'Play' }).count(), 0, 'no button that does nothing');
  const main = await mainOf(plain).innerText();
  for (const part of ['first', SHOWN, 'last', 'the program ended with exit code 3']) {
    assert.ok(main.includes(part), `${part} is in ${main}`);
  }
  assert.equal(await plain.locator('main img').count(), 0, 'what a program wrote is no markup');
  // The program's words stand in blocks of their own, placet's outside of them.
  const blocks = await plain.locator('main pre').allInnerTexts();
  assert.ok(blocks.some((text) => text.includes(SHOWN)) && !blocks.some((text) => text.includes('exit code 3')));
  assert.deepEqual(plain.complaints, []);
});
