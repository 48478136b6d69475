// A new query closes the open item; its hits come into view on map and plane; a place that is typed is gone to, and each item
// tells how far it is; a click leaves the map where it is.
import { assert, picture, scene, until, url } from "../chromium.mjs";
import { button, found, hits, map, part, searchByFile, searchByPlace } from "../page.mjs";

const [longitude, latitude] = process.env.PLACE.split(", ").map(Number);
const told = (page, name) => new URLSearchParams(new URL(page.url()).hash.slice(1)).get(name);
const view = (page) => told(page, "at").split(",").map(Number);

await scene(async (page, watched) => {
  await page.waitForLoadState("networkidle");
  const all = await map(page).boundingBox();
  await page.mouse.click(all.x + all.width / 2, all.y + all.height / 2);
  await found(page);
  await part(page, "Item").waitFor();
  await page.waitForTimeout(600);
  assert.ok(view(page)[2] < 1, `a click moved the map: ${view(page)}`);
  await searchByFile(page, process.env.SOUND);
  await until(async () => !(await part(page, "Item").isVisible()), "the former item is closed");
  await searchByPlace(page, process.env.PLACE);
  await until(async () => told(page, "at") && view(page)[2] > 5, "the map goes to the place");
  assert.ok(Math.hypot(view(page)[0] - longitude, view(page)[1] - latitude) < 1, `the map is at ${view(page)}`);
  assert.match((await hits(page).allInnerTexts())[0], /[\d,.]+ k?m away/);
  await part(page, "Item").getByText(/away/).waitFor();
  await picture(page, "place");
  await button(part(page, "Hits"), "Show on map").click();
  await until(async () => view(page)[2] < 5, "all hits are shown");

  assert.equal(await page.evaluate(() => document.getAnimations().length), 0, "something moves where nothing should");

  const near = await watched.open(`${url}#at=-150.00000,-60.00000,9.00&plane=9,9,0.001`);
  await searchByFile(near, process.env.SOUND);
  await until(async () => view(near)[2] < 5, "the hits on the map");
  await until(async () => told(near, "plane") !== "9,9,0.001", "the hits on the plane");
  await picture(near, "hits");
}, { reducedMotion: "reduce" });
