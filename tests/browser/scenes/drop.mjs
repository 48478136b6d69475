// A recording is dropped onto the page, another is made with the microphone; two examples are one query.
import { readFileSync } from "node:fs";
import { assert, picture, scene, until } from "../chromium.mjs";
import { button, found, hits, part } from "../page.mjs";

await scene(async (page) => {
  const bytes = readFileSync(process.env.SOUND).toString("base64");
  const data = await page.evaluateHandle((text) => {
    const held = new DataTransfer();
    held.items.add(new File([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], "dropped.wav", { type: "audio/wav" }));
    return held;
  }, bytes);
  for (const kind of ["dragenter", "dragover", "drop"]) await page.dispatchEvent("body", kind, { dataTransfer: data });
  const first = await found(page);
  assert.ok(first.length > 1);
  await part(page, "Search").getByText("dropped.wav").first().waitFor();
  await button(page, "Record").click();
  await new Promise((go) => setTimeout(go, 2500));
  const [answer] = await Promise.all([
    page.waitForResponse((each) => /api\/uploads$/.test(each.url())),
    part(page, "Search").getByRole("button", { name: /stop|search by it|done/i }).first().click(),
  ]);
  assert.equal(answer.ok(), true, await answer.text());
  assert.equal((await answer.json()).kind, "sound");
  await until(async () => (await hits(page).count()) > 0, "hits of the recording");
  await picture(page, "recorded");
}, { permissions: ["microphone"] });
