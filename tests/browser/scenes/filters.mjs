// Fewer rows are searched: a box that is typed, one that is drawn, a column's value; what is left is told; none is told.
import { assert, picture, scene, until } from "../chromium.mjs";
import { announced, button, drag, found, hits, map, part, searchByFile } from "../page.mjs";

await scene(async (page) => {
  await searchByFile(page, process.env.SOUND);
  const filters = part(page, "Filters");
  await filters.getByText("Filters").first().click();
  const searched = () => page.waitForResponse((answer) => /api\/search$/.test(answer.url())).then((answer) => answer.json());
  const apply = async () => (await Promise.all([searched(), button(filters, "Apply").click()]))[0];
  const box = filters.getByRole("textbox", { name: "Box" });
  await box.fill("-180, -90, 0, 90");
  const west = await apply();
  assert.ok(west.searched < west.of && west.hits.every((hit) => hit.longitude <= 0), "hits beyond the box");
  await found(page);
  await picture(page, "box");
  await box.fill("10, 20, 30");
  await button(filters, "Apply").click();
  await filters.getByText(/four numbers/).waitFor();
  await box.fill("");
  const [drawn] = await Promise.all([searched(), (async () => {
    await filters.getByRole("button", { name: /^draw/i }).first().click();
    await drag(page, map(page), [0.3, 0.3], [0.7, 0.7]);
  })()]);
  assert.ok(drawn.searched < drawn.of, "what was drawn has no effect");
  await box.fill("100, 88, 101, 89");
  await button(filters, "Apply").click();
  await until(async () => /0 hits|no rows|none|nothing/i.test(`${await announced(page)} ${await part(page, "Hits").innerText()}`), "that there is nothing");
  assert.equal(await hits(page).count(), 0);
}, { allowed: (text) => /status of 4\d\d/.test(text) });
