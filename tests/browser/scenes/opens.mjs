// The page opens: map and plane show something, the toy world is called synthetic, the card is one click away.
import { accessible, assert, picture, scene } from "../chromium.mjs";
import { map, part, plane } from "../page.mjs";

await scene(async (page) => {
  await picture(page, "page");
  await picture(map(page), "map");
  await picture(plane(page), "plane");
  assert.match(await page.locator("body").innerText(), /synthetic/i);
  for (const name of ["Map", "Plane", "Search", "Hits"]) await part(page, name).waitFor();
  const card = await page.getByRole("link", { name: /card/i }).first().getAttribute("href");
  const text = await page.evaluate((address) => fetch(address).then((answer) => answer.text()), card);
  assert.match(text, /^#/);
  await accessible(page, "the page as it opens");
});
