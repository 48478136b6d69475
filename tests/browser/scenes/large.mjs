// Letters of twice the size: a window of half the width.
import { accessible, picture, scene } from "../chromium.mjs";
import { fits, searchByPlace } from "../page.mjs";

await scene(async (page) => {
  await fits(page);
  await picture(page, "opened");
  await accessible(page, "large");
  await searchByPlace(page, process.env.PLACE);
  await fits(page);
  await picture(page, "hits");
  await accessible(page, "large, with hits");
}, { viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 });
