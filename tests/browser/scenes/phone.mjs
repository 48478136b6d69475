// A phone's width.
import { accessible, picture, scene } from "../chromium.mjs";
import { fits, searchByPlace } from "../page.mjs";

await scene(async (page) => {
  await fits(page);
  await picture(page, "opened");
  await accessible(page, "phone");
  await searchByPlace(page, process.env.PLACE);
  await fits(page);
  await picture(page, "hits");
  await accessible(page, "phone, with hits");
}, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
