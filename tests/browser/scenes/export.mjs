// Hits leave as a table, as GeoJSON and as a list of recordings.
import { readFileSync } from "node:fs";
import { assert, scene } from "../chromium.mjs";
import { button, hits, searchByFile } from "../page.mjs";

await scene(async (page) => {
  await searchByFile(page, process.env.SOUND);
  const shown = await hits(page).count();
  const saved = async (name) => {
    const [download] = await Promise.all([page.waitForEvent("download"), button(page, name).click()]);
    return readFileSync(await download.path(), "utf8");
  };
  const rows = (await saved("CSV")).trim().split("\n");
  assert.ok(rows.length > 1 && /score/.test(rows[0]), rows[0]);
  const places = JSON.parse(await saved("GeoJSON"));
  assert.equal(places.type, "FeatureCollection");
  assert.ok(places.features.length >= Math.min(shown, 5));
  assert.ok((await saved("Audio list")).trim().length > 0);
});
