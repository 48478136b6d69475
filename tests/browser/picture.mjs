// The picture of the README: a toy region with a map of a sound, a click on it, its likely sounds, one of them heard.
import { picture, scene, until } from "./chromium.mjs";
import { button, found, map, part } from "./page.mjs";

await scene(async (page) => {
  await part(page, "Layers").getByRole("checkbox").first().check();
  await page.waitForLoadState("networkidle");
  const box = await map(page).boundingBox();
  await page.mouse.click(box.x + box.width * 0.45, box.y + box.height * 0.4);
  await found(page);
  await button(part(page, "Hits"), "Play").click();
  await page.waitForLoadState("networkidle");
  await page.keyboard.press("Space");
  await part(page, "Item").evaluate((item) => item.scrollIntoView({ block: "start" }));
  await until(async () => /synthetic/i.test(await page.locator("header").innerText()), "synthetic data are called so");
  await picture(page, "picture");
}, { viewport: { width: 1400, height: 900 }, deviceScaleFactor: 1 });
