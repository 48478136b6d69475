// A link opens the same query, globe and layer in a fresh page; two queries stand side by side.
import { assert, picture, scene, until } from "../chromium.mjs";
import { button, found, part, searchByFile, searchByPlace } from "../page.mjs";

await scene(async (page, watched) => {
  await searchByPlace(page, process.env.PLACE);
  const here = await found(page);
  await part(page, "Layers").getByRole("checkbox").first().check();
  await part(page, "Layers").getByRole("combobox", { name: "Band" }).first().selectOption("view_spread");
  await button(part(page, "Map"), "Globe").click();
  const link = await until(async () => /globe.*view_spread/.test(page.url()) && page.url(), "a link");
  const other = await watched.open(link);
  assert.deepEqual((await found(other)).slice(0, 3), here.slice(0, 3), "another person sees other hits");
  assert.equal(await button(part(other, "Map"), "Globe").getAttribute("aria-pressed"), "true");
  assert.ok(await part(other, "Layers").getByRole("checkbox").first().isChecked());
  assert.equal(await part(other, "Layers").getByRole("combobox", { name: "Band" }).first().inputValue(), "view_spread");
  await other.close();
  await button(page, "Compare").click();
  await searchByFile(page, process.env.SOUND);
  for (const one of [/^A: surf/, /^B: /]) await page.getByRole("heading", { name: one }).waitFor();
  await picture(page, "compared");
});
