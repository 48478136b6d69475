// A link opens the same query, globe, layer, plane and selection in a fresh page; two queries stand side by side, and points
// are coloured by the difference of their scores.
import { assert, picture, scene, until } from "../chromium.mjs";
import { button, difference, drag, found, map, part, plane, searchByFile, searchByPlace } from "../page.mjs";

const told = (page, name) => new URLSearchParams(new URL(page.url()).hash.slice(1)).get(name);
const selected = (page) => part(page, "Selection").getByRole("heading").innerText();

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
  await button(page, "End comparison").click();

  await button(part(page, "Map"), "Globe").click();
  await button(part(page, "Map"), "All data").click();
  await button(page, "Zoom in on the plane").click();
  for (const [name, canvas] of [["Plane", plane], ["Map", map]]) {
    await button(part(page, name), "Lasso").click();
    await drag(page, canvas(page), [0.2, 0.2], [0.8, 0.25]);
    await button(part(page, name), "Lasso").click();
    await button(part(page, name), "Select view").click();
    const address = await until(async () => told(page, "plane") && new RegExp(`^${name.toLowerCase()}:`).test(told(page, "sel")) && page.url(), `a selection on the ${name}`);
    const same = await watched.open(address);
    assert.equal(await selected(same), await selected(page));
    assert.equal(told(same, "plane"), told(page, "plane"));
    await same.close();
  }
  await button(page, "Clear selection").click();

  await searchByFile(page, process.env.SOUND);
  await button(page, "Compare").click();
  await searchByFile(page, process.env.OTHER);
  await page.getByRole("heading", { name: /^B: surf/ }).waitFor();
  const before = await plane(page).screenshot();
  await button(page, "Colour points by A minus B").click();
  await page.getByText(/^A \+0/).waitFor();
  await until(async () => (await difference(page, before, await plane(page).screenshot())) > 0.001, "colours of a difference");
  await picture(page, "difference");
});
