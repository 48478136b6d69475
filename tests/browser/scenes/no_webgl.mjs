// A browser without WebGL: it is told, and a list remains that keys can use.
import { accessible, assert, picture, scene } from "../chromium.mjs";
import { found, searchByPlace } from "../page.mjs";

await scene(async (page) => {
  await page.getByText(/WebGL/).first().waitFor();
  assert.ok((await page.getByRole("listitem").count()) > 3, "no list of items");
  await searchByPlace(page, process.env.PLACE);
  await found(page);
  await picture(page, "list");
  await accessible(page, "without WebGL");
}, { webgl: false, allowed: (text) => /webgl/i.test(text) });
