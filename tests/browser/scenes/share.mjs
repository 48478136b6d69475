// A link opens the same query in a fresh page; two queries stand side by side.
import { assert, picture, scene, until } from "../chromium.mjs";
import { button, found, searchByFile, searchByPlace } from "../page.mjs";

await scene(async (page, watched) => {
  await searchByPlace(page, process.env.PLACE);
  const here = await found(page);
  const link = await until(async () => page.url().includes("#") && page.url(), "a link");
  const other = await watched.open(link);
  assert.deepEqual((await found(other)).slice(0, 3), here.slice(0, 3), "another person sees other hits");
  await other.close();
  await button(page, "Compare").click();
  await searchByFile(page, process.env.SOUND);
  for (const one of [/^A: surf/, /^B: /]) await page.getByRole("heading", { name: one }).waitFor();
  await picture(page, "compared");
});
