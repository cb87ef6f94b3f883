// Every page that a reviewer can reach, for the checks that hold on all of them.

import { go, openPage, openReview, signIn } from './reviewer.mjs';

/** Text without a place to break, as an agent may send it. */
export const UNBROKEN = 'x'.repeat(4000);

/**
 * Fills placet with one request in each state that pages show, and calls `visit(page, name)` on each page.
 * The options are those of the browser context: colours, viewport, scripts.
 */
export async function visitEveryPage(context, placet, visit) {
  const pending = await placet.askToDeploy({
    args: { version: '2.0.0', notes: UNBROKEN, nested: { list: [1, 2.5, null, true], empty: {} } },
    justification: `Because ${UNBROKEN}`,
  });
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
  await openReview(page, placet, cancelled);
  await visit(page, 'review-decided');
  for (const [path, name] of PATHS) {
    await go(page, placet, path);
    await visit(page, name);
  }
  return page;
}

/** The pages with an address of their own. */
const PATHS = [
  ['/history', 'history'],
  ['/people', 'people'],
  ['/agents', 'agents'],
  ['/policy', 'policy'],
  ['/audit', 'audit'],
  ['/no-such-page', 'not-found'],
];
