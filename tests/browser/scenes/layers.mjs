// A map of a sound is laid over the region; opacity, colours and threshold need no server; its legend is read.
import { accessible, assert, picture, scene, until } from "../chromium.mjs";
import { difference, map, part } from "../page.mjs";

await scene(async (page, watched) => {
  const layers = part(page, "Layers");
  const before = await map(page).screenshot();
  await layers.getByRole("checkbox").first().check();
  await until(async () => watched.requests.some((each) => /api\/layers\/[^/]+\/\d+\/\d+\/\d+\.png/.test(each)), "tiles");
  await until(async () => (await difference(page, before, await map(page).screenshot())) > 0.01, "the layer on the map");
  await picture(page, "layer");
  await page.getByLabel("Legend").first().waitFor();
  await page.waitForLoadState("networkidle");
  const asked = watched.requests.length;
  for (const [name, value] of [["Opacity", "0.3"], ["From percentile", "80"]]) {
    const seen = await map(page).screenshot();
    await layers.getByRole("slider", { name }).first().fill(value);
    await until(async () => (await difference(page, seen, await map(page).screenshot())) > 0.005, name);
  }
  assert.equal(watched.requests.length, asked, "colours asked the server");
  await picture(page, "threshold");
  await accessible(page, "a layer");
  const first = layers.getByRole("checkbox").first();
  await first.uncheck();
  const bare = await map(page).screenshot();
  await layers.getByRole("checkbox", { name: "Likeliest sound", exact: true }).check();
  await layers.getByLabel("Legend").getByText("birds").waitFor();
  await until(async () => (await difference(page, bare, await map(page).screenshot())) > 0.1, "classes on the map");
  await picture(page, "classes");
  assert.equal(await layers.getByRole("slider", { name: "Opacity" }).first().inputValue(), "1", "classes are opaque");
  await first.check(); // classes stand alone: no colours mix with theirs
  assert.equal(await layers.getByRole("checkbox", { name: "Likeliest sound", exact: true }).isChecked(), false);
});
