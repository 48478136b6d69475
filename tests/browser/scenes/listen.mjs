// A hit is heard: waveform and spectrogram, space starts and stops, arrows seek, the next hit is a key away.
import { assert, picture, scene, until } from "../chromium.mjs";
import { button, searchByPlace } from "../page.mjs";

const time = (page) => page.evaluate(() => Math.max(...[...document.querySelectorAll("audio")].map((each) => each.currentTime)));
const playing = (page) => page.evaluate(() => [...document.querySelectorAll("audio")].some((each) => !each.paused));

await scene(async (page, watched) => {
  await searchByPlace(page, process.env.PLACE);
  await button(page, "Play").click();
  await until(() => playing(page), "sound");
  await until(async () => watched.requests.some((each) => /\/peaks/.test(each)), "peaks");
  await until(async () => watched.requests.some((each) => /\/spectrogram/.test(each)), "a spectrogram");
  await picture(page, "player");
  await page.keyboard.press("Space");
  await until(async () => !(await playing(page)), "a pause");
  const before = await time(page);
  await page.keyboard.press("ArrowRight");
  await until(async () => (await time(page)) !== before, "another position");
});
