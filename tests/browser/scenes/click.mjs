// A click on the map: the tile there, its likely sounds with scores, licence and attribution; one is played.
import { assert, picture, scene } from "../chromium.mjs";
import { button, found, map } from "../page.mjs";

await scene(async (page) => {
  const box = await map(page).boundingBox();
  await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
  const texts = await found(page);
  assert.match(texts[0], /\d\.\d/, "a score");
  assert.match(await page.locator("body").innerText(), /CC0|CC-BY/);
  await picture(page, "clicked");
  await button(page, "Play").click();
  await page.waitForFunction(() => [...document.querySelectorAll("audio, video")].some((each) => each.currentTime > 0.2));
});
