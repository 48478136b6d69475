// A page in Chromium as a person has it, watched: errors in the console, answers that failed, requests to elsewhere.
// Told by the environment: PAGE_URL, CHROMIUM, OUT (a folder for screenshots), and what a scene itself asks for.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { chromium } from "playwright-core";

export { assert };
export const url = process.env.PAGE_URL;
const flags = [
  "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
  "--autoplay-policy=no-user-gesture-required",
];
const software = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"];
const none = ["--disable-webgl", "--disable-webgl2", "--disable-3d-apis"];

// Runs a scene: `does(page, watched)`; fails where it throws, and where the page did what no page of ours may do.
// `hash` is what stands behind the address; `webgl: false` takes WebGL away; the rest goes to Playwright's context.
export async function scene(does, { hash = "", webgl = true, allowed = () => false, address = url, ...context } = {}) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM, chromiumSandbox: false, args: [...flags, ...(webgl ? software : none)],
  });
  const watched = { errors: [], elsewhere: [], requests: [] };
  const opened = await browser.newContext({ viewport: { width: 1280, height: 800 }, acceptDownloads: true, ...context });
  watched.open = async (where) => {
    const page = await opened.newPage();
    watch(page, watched, allowed);
    await page.goto(where);
    await ready(page);
    return page;
  };
  let page;
  try {
    page = await watched.open(address + hash);
    await does(page, watched);
    assert.deepEqual(watched.elsewhere, [], "requests left the page's own server");
    assert.deepEqual(watched.errors, [], "the console has errors");
  } catch (error) {
    const failed = page ?? opened.pages()[0];
    if (failed) await failed.screenshot({ path: path.join(process.env.OUT, "failed.png") }).catch(() => {});
    console.error(error);
    console.error("console:", watched.errors);
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}

function watch(page, watched, allowed) {
  const tell = (text) => { if (!allowed(text)) watched.errors.push(text); };
  page.on("console", (message) => { if (message.type() === "error") tell(`${message.text()} ${message.location().url}`); });
  page.on("pageerror", (error) => tell(`${error.stack ?? error}`));
  page.on("request", (request) => {
    const asked = new URL(request.url());
    watched.requests.push(request.url());
    if (/^(https?|wss?):$/.test(asked.protocol) && asked.origin !== new URL(url).origin) watched.elsewhere.push(request.url());
  });
  page.on("response", (response) => { if (response.status() >= 500 && response.status() !== 503) tell(`${response.status()} ${response.url()}`); });
}

// The page says itself when it can be used: `data-ready` on its root.
export async function ready(page) {
  await page.locator("html[data-ready]").waitFor({ state: "attached", timeout: 20_000 });
}

// Screenshots are looked at for emptiness afterwards, by the test that ran the scene.
export async function picture(what, name) {
  const file = path.join(process.env.OUT, `${name}.png`);
  await what.screenshot({ path: file });
  return file;
}

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

// Fails where axe-core finds what it calls serious or critical.
export async function accessible(page, name) {
  await page.evaluate(readFileSync(axe, "utf8")); // not as a script tag, which the page's content security policy refuses
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const grave = found.violations
    .filter((each) => ["serious", "critical"].includes(each.impact))
    .map((each) => `${each.id}: ${each.help}: ${each.nodes.map((node) => node.target.join(" ")).slice(0, 4).join(" | ")}`);
  assert.deepEqual(grave, [], `axe-core on ${name}`);
}

export async function until(asks, says, seconds = 10) {
  const end = Date.now() + 1000 * seconds;
  for (;;) {
    const found = await asks();
    if (found) return found;
    if (Date.now() > end) assert.fail(`${says}: not within ${seconds} s`);
    await new Promise((go) => setTimeout(go, 50));
  }
}
