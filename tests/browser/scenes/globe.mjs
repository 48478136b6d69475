// The globe turns, points keep their places; the score of a search colours all points.
import { assert, picture, scene, until } from "../chromium.mjs";
import { button, difference, drag, map, part, plane, searchByFile } from "../page.mjs";

await scene(async (page) => {
  const flat = await map(page).screenshot();
  await button(part(page, "Map"), "Globe").click();
  await until(async () => (await difference(page, flat, await map(page).screenshot())) > 0.05, "a globe");
  const before = await map(page).screenshot();
  await drag(page, map(page), [0.6, 0.5], [0.4, 0.45]);
  await until(async () => (await difference(page, before, await map(page).screenshot())) > 0.02, "a turn");
  await picture(map(page), "globe");
  await searchByFile(page, process.env.SOUND);
  const kinds = await plane(page).screenshot();
  await part(page, "Plane").getByRole("combobox", { name: "Colour by" }).selectOption({ label: "score of the search" });
  await until(async () => (await difference(page, kinds, await plane(page).screenshot())) > 0.003, "colours of scores");
  assert.equal(await button(part(page, "Map"), "Globe").getAttribute("aria-pressed"), "true");
  await picture(page, "scores");
});
