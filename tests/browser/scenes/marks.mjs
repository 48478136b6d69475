// Right and wrong are kept as they are said, ranking uses them, and what was said is taken back.
import { assert, picture, scene, until } from "../chromium.mjs";
import { button, found, hits, searchByFile } from "../page.mjs";

await scene(async (page) => {
  await searchByFile(page, process.env.SOUND);
  const posted = () => page.waitForResponse((answer) => answer.url().endsWith("api/marks") && answer.request().method() === "POST");
  let [answer] = await Promise.all([posted(), button(hits(page).nth(0), "Right").click()]);
  assert.equal(answer.status(), 201);
  [answer] = await Promise.all([posted(), button(hits(page).nth(1), "Wrong").click()]);
  assert.equal(answer.status(), 201);
  [answer] = await Promise.all([posted(), button(page, "Undo").click()]);
  assert.equal(answer.status(), 201);
  await found(page);
  await picture(page, "marked");
  await until(async () => (await hits(page).count()) > 0, "hits");
});
