// Every page that a reviewer can reach, for the checks that hold on all of them.

import { approveButton, go, openPage, openReview, press, reasonField, signIn } from './reviewer.mjs';

/** Text without a place to break, as an agent may send it. */
export const UNBROKEN = 'x'.repeat(4000);

/**
 * Fills placet with one request in each state that pages show, and calls `visit(page, name)` on each page.
 * The options are those of the browser context: colours, viewport, scripts.
 */
export async function visitEveryPage(context, placet, visit) {
  const pending = await placet.askToDeploy({
    args: { version: '2.0.0', service: UNBROKEN },
    justification: `Because ${UNBROKEN}`,
  });
  const command = await placet.askToRun({ argv: ['wc', '-c', UNBROKEN, 'two words', ''], justification: 'To count.' });
  const unknown = await placet.askToDeploy({ args: { version: '1.0.0' } });
  const cancelled = await placet.askToDeploy({ args: { version: '1.9.9' } });
  await placet.cancel(cancelled.id);

  const invitation = await openPage(context);
  await invitation.goto(placet.invitation);
  await visit(invitation, 'sign-in');
  await go(invitation, placet, '/');
  await visit(invitation, 'signed-out');
  await invitation.close();

  const page = await signIn(context, placet);
  await go(page, placet, '/');
  await visit(page, 'inbox');
  await openReview(page, placet, pending);
  await visit(page, 'review-pending');
  await openReview(page, placet, command);
  await visit(page, 'review-command');
  await openReview(page, placet, unknown);
  await reasonField(page).fill(`Looks right. ${UNBROKEN}`.slice(0, 300));
  await press(page, approveButton(page));
  await visit(page, 'review-granted');
  await placet.carryOut(unknown, { outcome: 'unknown', summary: 'lost contact' });
  await go(page, placet, `/r/${unknown.id}`);
  await visit(page, 'review-unknown');
  await openReview(page, placet, command);
  await press(page, approveButton(page));
  await placet.runToTheEnd(command);
  await go(page, placet, `/r/${command.id}`);
  await visit(page, 'review-recorded');
  await go(page, placet, `/r/${command.id}/recording`);
  await page.getByRole('button', { name: 'Play' }).waitFor();
  await visit(page, 'recording');
  await go(page, placet, `/r/${cancelled.id}`);
  await visit(page, 'review-cancelled');
  await openReview(page, placet, pending);
  await page.locator('input[name="version"]').evaluate((input) => input.setAttribute('value', '999'));
  await press(page, approveButton(page));
  await visit(page, 'vote-refused');
  for (const [path, name] of PATHS) {
    await go(page, placet, path);
    await visit(page, name);
  }
  await page.goto(placet.invitation);
  await visit(page, 'link-used');
}

/** The pages with an address of their own. */
const PATHS = [
  ['/history', 'history'],
  ['/overview', 'overview'],
  ['/overview?window=day', 'overview-day'],
  ['/people', 'people'],
  ['/agents', 'agents'],
  ['/policy', 'policy'],
  ['/audit', 'audit'],
  ['/audit?action=example.deploy&on=today&tz=Europe%2FBerlin', 'audit-question'],
  ['/audit/entries', 'entries'],
  ['/no-such-page', 'not-found'],
];
