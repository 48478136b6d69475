// Prints as JSON: seconds until the page can be used, several times, and frames a second while map and plane are dragged.
import { assert, ready, scene, url } from "./chromium.mjs";

const seconds = Number(process.env.SECONDS ?? 5);
const rounds = Number(process.env.ROUNDS ?? 3);

await scene(async (page) => {
  const interactive = [];
  for (let round = 0; round < rounds; round += 1) {
    const session = await page.context().newCDPSession(page);
    await session.send("Network.clearBrowserCache"); // as the first visit is
    const start = Date.now();
    await page.goto("about:blank");
    await page.goto(url);
    await ready(page);
    const told = await page.evaluate(() => performance.getEntriesByName("ready")[0]?.startTime);
    interactive.push(told === undefined ? (Date.now() - start) / 1000 : told / 1000);
  }
  const told = { interactive, map: await dragged(page, "Map"), plane: await dragged(page, "Plane") };
  console.log(JSON.stringify(told));
}, { viewport: { width: 1280, height: 800 } });

// Frames a second, and the longest of them, while the pointer drags to and fro.
async function dragged(page, name) {
  const box = await page.getByRole("region", { name, exact: true }).locator("canvas").first().boundingBox();
  assert.ok(box, `no canvas in ${name}`);
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.evaluate(() => {
    window.frames_seen = [];
    const see = (now) => { window.frames_seen.push(now); window.frames_on = requestAnimationFrame(see); };
    window.frames_on = requestAnimationFrame(see);
  });
  const end = Date.now() + 1000 * seconds;
  for (let step = 0; Date.now() < end; step += 1) {
    const angle = step / 12;
    await page.mouse.move(x + 0.2 * box.width * Math.sin(angle), y + 0.15 * box.height * Math.sin(angle / 2));
    await new Promise((go) => setTimeout(go, 15));
  }
  const times = await page.evaluate(() => { cancelAnimationFrame(window.frames_on); return window.frames_seen; });
  await page.mouse.up();
  const gaps = times.slice(1).map((time, at) => time - times[at]);
  return { frames: times.length, rate: (1000 * gaps.length) / (times.at(-1) - times[0]), longest: Math.max(...gaps) };
}
