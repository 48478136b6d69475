// The picture of the README: the region of the toy planet by the sound of surf, as a layer and as hits.
import { picture, scene, until } from "./chromium.mjs";
import { button, part, searchByFile } from "./page.mjs";

await scene(async (page) => {
  await searchByFile(page, process.env.SOUND);
  await part(page, "Layers").getByRole("checkbox").first().check();
  await button(page, "Play").click();
  await page.waitForLoadState("networkidle");
  await until(async () => /synthetic/i.test(await page.locator("body").innerText()), "synthetic data are called so");
  await picture(page, "picture");
}, { viewport: { width: 1400, height: 900 }, deviceScaleFactor: 1 });
