// A sound that is dropped finds places; coordinates do; what is wrong with them is told; more like a hit; text is told off.
import { accessible, assert, picture, scene, until } from "../chromium.mjs";
import { button, found, hits, part, searchByFile, searchByPlace } from "../page.mjs";

await scene(async (page) => {
  const bySound = await searchByFile(page, process.env.SOUND);
  assert.match(bySound[0], /%|percentile/i);
  await picture(page, "by-sound");
  await accessible(page, "hits");
  await button(hits(page).first(), "More like this").click();
  await until(async () => (await hits(page).allInnerTexts())[0] !== bySound[0], "other hits");
  const byImage = await searchByFile(page, process.env.IMAGE);
  assert.ok(byImage.length > 1);
  const words = part(page, "Search").getByRole("textbox", { name: "Words" });
  assert.ok(await words.isDisabled());
  await part(page, "Search").getByText(/no words/).waitFor();
  await searchByPlace(page, process.env.PLACE);
  await picture(page, "by-place");
  const field = part(page, "Search").getByRole("textbox", { name: "Place" });
  await field.fill("200, 300");
  await field.press("Enter");
  await page.getByText(/longitude|latitude/i).first().waitFor();
  await found(page);
}, { allowed: (text) => /status of 4\d\d/.test(text) });
