// A phone's width: what is found is told where the map is tapped, and one tap leads there.
import { accessible, assert, picture, scene, until } from "../chromium.mjs";
import { fits, map, part, searchByPlace } from "../page.mjs";

const seen = (page) => part(page, "Hits").evaluate((hits) => hits.getBoundingClientRect().top < innerHeight);

await scene(async (page) => {
  await fits(page);
  await picture(page, "opened");
  await accessible(page, "phone");
  const box = await map(page).boundingBox();
  await page.touchscreen.tap(box.x + box.width / 2, box.y + box.height / 2);
  const bar = page.getByRole("button", { name: /^20 sounds found$/ });
  await bar.waitFor();
  assert.equal(await seen(page), false, "the hits are in view already");
  await fits(page);
  await picture(page, "found");
  await bar.tap();
  await until(() => seen(page), "the way to the hits");
  await bar.waitFor({ state: "hidden" });
  await searchByPlace(page, process.env.PLACE);
  await fits(page);
  await picture(page, "hits");
  await accessible(page, "phone, with hits");
}, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
