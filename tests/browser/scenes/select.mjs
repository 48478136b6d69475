// Points are selected by a lasso, by keys alone, and listed; where a picture and a sound lie at one place, both are told.
import { accessible, assert, picture, scene, until, url } from "../chromium.mjs";
import { announced, button, map, part } from "../page.mjs";

await scene(async (page, watched) => {
  const list = part(page, "Selection");
  await button(part(page, "Plane"), "Select view").focus();
  await page.keyboard.press("Enter");
  const all = Number(/([\d,]+) selected/.exec(await until(async () => ((await announced(page)).includes("selected") ? announced(page) : null), "a selection"))[1].replaceAll(",", ""));
  await list.getByRole("heading", { name: `Selected (${all.toLocaleString("en")})` }).waitFor();
  await until(async () => (await list.getByRole("listitem").count()) === 10, "the first ten");
  await button(list, "Show more").click();
  await until(async () => (await list.getByRole("listitem").count()) === 20, "ten more");
  assert.ok(await button(list, "Search by these").isDisabled(), "too many to search by");
  await accessible(page, "a selection");

  const plane = await part(page, "Plane").locator("canvas").boundingBox();
  await button(part(page, "Plane"), "Lasso").click();
  const corner = (angle) => [plane.x + plane.width * (0.5 + 0.3 * Math.cos(angle)), plane.y + plane.height * (0.5 + 0.3 * Math.sin(angle))];
  await page.mouse.move(...corner(0));
  await page.mouse.down();
  for (let angle = 0.2; angle < 6.2; angle += 0.2) await page.mouse.move(...corner(angle));
  await picture(page, "lasso");
  await page.mouse.up();
  const within = await until(async () => /^([\d,]+) selected/.exec(await announced(page)), "a lasso");
  assert.ok(Number(within[1].replaceAll(",", "")) < all && Number(within[1].replaceAll(",", "")) > 0, within[0]);
  await list.getByRole("listitem").first().getByRole("button").click();
  await part(page, "Item").waitFor();
  await button(page, "Clear selection").click();
  await list.waitFor({ state: "hidden" });

  const [longitude, latitude] = process.env.PLACE.split(", ").map(Number);
  const near = await watched.open(`${url}#at=${longitude.toFixed(5)},${latitude.toFixed(5)},12.00`);
  const box = await map(near).boundingBox();
  await near.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
  const there = part(near, "Selection");
  await there.getByRole("heading", { name: "At this place (2)" }).waitFor();
  const names = await there.getByRole("listitem").allInnerTexts();
  assert.deepEqual(names.map((name) => /picture|sound/.exec(name)[0]).sort(), ["picture", "sound"]);
  await picture(near, "one-place");
});
