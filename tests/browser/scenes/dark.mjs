// Dark.
import { accessible, picture, scene } from "../chromium.mjs";
import { fits, searchByPlace } from "../page.mjs";

await scene(async (page) => {
  await fits(page);
  await picture(page, "opened");
  await accessible(page, "dark");
  await searchByPlace(page, process.env.PLACE);
  await fits(page);
  await picture(page, "hits");
  await accessible(page, "dark, with hits");
}, { colorScheme: "dark" });
