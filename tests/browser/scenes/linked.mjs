// What is brushed on the plane is seen on the map, and the other way about; points are coloured by a column.
import { assert, picture, scene, until } from "../chromium.mjs";
import { announced, button, difference, drag, map, part, plane } from "../page.mjs";

await scene(async (page) => {
  for (const [name, here, there] of [["Plane", plane, map], ["Map", map, plane]]) {
    const before = await there(page).screenshot();
    await button(part(page, name), "Brush").click();
    await drag(page, here(page), [0.15, 0.15], [0.75, 0.75]);
    await until(async () => /\d+ (points? |items? |places? )?selected/.test(await announced(page)), `brush on ${name}`);
    assert.doesNotMatch(await announced(page), /\b0 (points? |items? |places? )?selected/);
    await until(async () => (await difference(page, before, await there(page).screenshot())) > 0.0005, "the other side");
    await picture(page, `brushed-${name.toLowerCase()}`);
    await button(page, "Clear selection").click();
  }
  const before = await plane(page).screenshot();
  await part(page, "Plane").getByRole("combobox", { name: "Colour by" }).selectOption({ label: "land_cover" });
  await until(async () => (await difference(page, before, await plane(page).screenshot())) > 0.001, "colours");
  await picture(page, "coloured");
});
