// Fewer rows are searched: what is typed is checked at its field, how many rows pass is told; boxes and polygons are drawn.
import { assert, picture, scene, until } from "../chromium.mjs";
import { announced, button, drag, found, hits, map, part, searchByFile } from "../page.mjs";

await scene(async (page) => {
  await searchByFile(page, process.env.SOUND);
  const filters = part(page, "Filters");
  await filters.getByText("Filters").first().click();
  const field = (name) => filters.getByRole("textbox", { name, exact: true });
  const searched = () => page.waitForResponse((answer) => /api\/search$/.test(answer.url())).then((answer) => answer.json());
  const apply = async () => (await Promise.all([searched(), button(filters, "Apply").click()]))[0];
  const passing = async () => Number(/([\d,]+) of [\d,]+ items pass/.exec(await until(async () => {
    const text = await filters.innerText();
    return /items pass/.test(text) && text;
  }, "how many pass"))[1].replaceAll(",", ""));
  const box = field("Box");
  await box.fill("-180, -90, 0, 90");
  await box.blur();
  const count = await passing();
  const west = await apply();
  assert.ok(west.searched < west.of && west.hits.every((hit) => hit.longitude <= 0), "hits beyond the box");
  assert.ok(west.searched < count && count < west.of, `${count} pass, ${west.searched} pictures are searched`);
  await found(page);
  await picture(page, "box");

  // what is wrong is told beside its field, of all of them, and asks for nothing
  for (const [name, text] of [["Box", "10, 20, 30"], ["Hours", "25-99"], ["Dates", "spring"]]) await field(name).fill(text);
  await button(filters, "Apply").click();
  await filters.getByText(/four numbers/).waitFor();
  const wrong = (name) => field(name).evaluate((input) => document.getElementById(input.getAttribute("aria-describedby"))?.textContent ?? "");
  assert.match(await wrong("Box"), /four numbers/);
  await box.fill("");
  await button(filters, "Apply").click();
  await until(async () => /25/.test(await wrong("Hours")) && /spring/.test(await wrong("Dates")), "hours and dates are wrong");
  assert.equal(await field("Hours").getAttribute("aria-invalid"), "true");
  assert.equal(await box.getAttribute("aria-invalid"), null, "the box is none any more");
  await picture(page, "wrong");

  await field("Dates").fill("");
  await field("Hours").fill("3-21");
  await field("Months").fill("1-9");
  await filters.getByRole("listbox", { name: "License" }).selectOption({ index: 0 });
  const some = await apply();
  const months = some.hits.map((hit) => Number(hit.datetime.slice(5, 7)));
  const hours = some.hits.map((hit) => Number(hit.datetime.slice(11, 13)));
  assert.ok(some.searched < some.of && Math.max(...months) <= 9 && Math.min(...hours) >= 3 && Math.max(...hours) <= 21, "hours and months");
  assert.equal(new Set(some.hits.map((hit) => hit.license)).size, 1);
  await button(filters, "Clear filters").click();

  const drawn = await Promise.all([searched(), (async () => {
    await button(filters, "Draw box").click();
    await drag(page, map(page), [0.3, 0.3], [0.7, 0.7]);
  })()]);
  assert.ok(drawn[0].searched < drawn[0].of, "what was drawn has no effect");
  await button(filters, "Draw polygon").click();
  const at = await map(page).boundingBox();
  const corner = (x, y) => [at.x + at.width * x, at.y + at.height * y];
  for (const [x, y] of [[0.1, 0.2], [0.6, 0.2]]) await page.mouse.click(...corner(x, y));
  const [polygon] = await Promise.all([searched(), page.mouse.dblclick(...corner(0.3, 0.7))]);
  assert.ok(polygon.searched < polygon.of, "the polygon has no effect");
  assert.match(await field("Polygon").inputValue(), /^(-?[\d.]+ -?[\d.]+(, )?){3,4}$/);
  assert.equal(await box.inputValue(), "", "a box beside the polygon");
  await passing();
  await picture(page, "polygon");

  await button(filters, "Clear filters").click();
  await box.fill("100, 88, 101, 89");
  await button(filters, "Apply").click();
  await until(async () => /no rows?|none|nothing/i.test(`${await announced(page)} ${await part(page, "Hits").innerText()}`), "that there is nothing");
  assert.equal(await hits(page).count(), 0);
}, { allowed: (text) => /status of 4\d\d/.test(text) });
