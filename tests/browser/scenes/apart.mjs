// Below a path of a proxy, with a token, over a base map of one's own; sounds alone, one of ten minutes, which is heard at once.
import { assert, picture, scene, until } from "../chromium.mjs";
import { button, found, map, part, searchByPlace } from "../page.mjs";

const TILES = process.env.TILES;
const LOOSELY_S = 5; // under a second where nothing else runs

await scene(async (page, watched) => {
  assert.ok(new URL(page.url()).pathname.endsWith("/sounds/"), page.url());
  assert.ok(!page.url().includes("token"), "the address keeps the token");
  await until(async () => watched.elsewhere.some((each) => each.startsWith(TILES)), "tiles of the base map");
  watched.elsewhere.splice(0, watched.elsewhere.length, ...watched.elsewhere.filter((each) => !each.startsWith(TILES)));
  await page.waitForLoadState("networkidle");
  await page.getByText("Tiles by nobody").waitFor();
  await picture(map(page), "base-map");
  await searchByPlace(page, "5.0, 45.0");
  await part(page, "Item").waitFor();
  assert.equal(await button(part(page, "Item"), "Likely places").count(), 0, "there are no pictures");
  await found(page);
  const start = Date.now();
  await button(part(page, "Item"), "Play").click();
  await page.waitForFunction(() => [...document.querySelectorAll("audio")].some((each) => each.currentTime > 0.1 && each.duration > 590));
  const seconds = (Date.now() - start) / 1000;
  assert.ok(seconds < LOOSELY_S, `ten minutes are heard after ${seconds} s`);
  watched.elsewhere.splice(0, watched.elsewhere.length, ...watched.elsewhere.filter((each) => !each.startsWith(TILES)));
});
