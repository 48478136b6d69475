// An index without coordinates, without media, with ids that are markup and very long: the plane alone, ids as they are.
import { accessible, assert, picture, scene } from "../chromium.mjs";
import { button, part, plane } from "../page.mjs";

await scene(async (page) => {
  await picture(plane(page), "plane");
  await picture(page, "page");
  assert.equal(await page.evaluate(() => window.markup_ran), undefined, "an id ran as a script");
  assert.equal(await page.locator("img[src='nowhere']").count(), 0, "an id became markup");
  assert.ok(await button(part(page, "Search"), "Record").isDisabled(), "recording without a model");
  assert.ok(await part(page, "Search").getByLabel("Sound or picture").isDisabled());
  await part(page, "Search").getByText(/words need a model/).waitFor();
  await accessible(page, "without places");
});
