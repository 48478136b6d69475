// Without a mouse: from the page as it loads, help, search by coordinates, the hits and what is done with them are reached by
// keys alone, in the order in which they stand; one is played.
import { assert, picture, scene, until } from "../chromium.mjs";
import { announced, found } from "../page.mjs";

const focused = (page) => page.evaluate(() => {
  const { activeElement: at } = document;
  return { name: at?.getAttribute("aria-label") || at?.labels?.[0]?.innerText || at?.innerText || "", role: at?.tagName };
});

async function tabTo(page, name, steps = 80) {
  for (let step = 0; step < steps; step += 1) {
    if (name.test((await focused(page)).name)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`${name} is not reached by the key Tab`);
}

// The parts of the page that the key Tab comes through, in order.
async function order(page, steps) {
  const parts = [];
  for (let step = 0; step < steps; step += 1) {
    await page.keyboard.press("Tab");
    const name = await page.evaluate(() => document.activeElement?.closest("header, section")?.getAttribute("aria-label") ?? "");
    if (parts.at(-1) !== name) parts.push(name);
  }
  return parts;
}

await scene(async (page) => {
  assert.deepEqual((await order(page, 45)).slice(0, 6), ["", "Map", "Layers", "Plane", "Search", "Filters"]);
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press("?");
  await page.getByRole("dialog").waitFor();
  await picture(page, "help");
  await page.keyboard.press("Escape");
  await until(async () => (await page.getByRole("dialog").count()) === 0, "help is closed");
  await tabTo(page, /^place/i);
  await page.keyboard.type(process.env.PLACE);
  await page.keyboard.press("Enter");
  await found(page);
  await tabTo(page, /^play/i);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => [...document.querySelectorAll("audio")].some((each) => each.currentTime > 0.1));
  await page.keyboard.press("Enter");
  await tabTo(page, /^right/i);
  await page.keyboard.press("Enter");
  await until(async () => /marked right/.test(await announced(page)), "what was marked is announced");
  await page.keyboard.press("u");
  await until(async () => /taken back/.test(await announced(page)), "the mark is taken back");
});
