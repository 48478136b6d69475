// The parts of the page by the names that a screen reader tells, in one place; and what people do with them.
import { assert, until } from "./chromium.mjs";

export const part = (page, name) => page.getByRole("region", { name, exact: true });
export const map = (page) => part(page, "Map").locator("canvas").first();
export const plane = (page) => part(page, "Plane").locator("canvas").first();
export const hits = (page) => part(page, "Hits").getByRole("listitem");
export const button = (where, name) => where.getByRole("button", { name, exact: true }).first();

// What was announced last to those who do not see the page.
export const announced = (page) => page.getByRole("status").allInnerTexts().then((texts) => texts.join(" "));

export async function searchByFile(page, file) {
  await part(page, "Search").getByLabel("Sound or picture").setInputFiles(file);
  return found(page);
}

export async function searchByPlace(page, place) {
  const field = part(page, "Search").getByRole("textbox", { name: "Place" });
  await field.fill(place);
  await field.press("Enter");
  return found(page);
}

// The texts of the hits, once there are some.
export async function found(page, least = 1) {
  await until(async () => (await hits(page).count()) >= least, "hits");
  return hits(page).allInnerTexts();
}

export async function drag(page, canvas, [x0, y0], [x1, y1]) {
  const box = await canvas.boundingBox();
  assert.ok(box, "a canvas without a size");
  const at = (x, y) => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(x0, y0));
  await page.mouse.down();
  for (let step = 1; step <= 8; step += 1) {
    await page.mouse.move(...at(x0 + ((x1 - x0) * step) / 8, y0 + ((y1 - y0) * step) / 8));
  }
  await page.mouse.up();
}

// How many of the pixels of two screenshots differ, as a share; counted by the page's own browser.
export async function difference(page, one, other) {
  return page.evaluate(async ([first, second]) => {
    const pixels = async (text) => {
      const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
      const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
      context.drawImage(bitmap, 0, 0);
      return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
    };
    const [a, b] = [await pixels(first), await pixels(second)];
    if (a.length !== b.length) return 1;
    let other = 0;
    for (let at = 0; at < a.length; at += 4) {
      if (Math.abs(a[at] - b[at]) + Math.abs(a[at + 1] - b[at + 1]) + Math.abs(a[at + 2] - b[at + 2]) > 12) other += 1;
    }
    return (4 * other) / a.length;
  }, [one.toString("base64"), other.toString("base64")]);
}

// Nothing is wider than the window.
export async function fits(page) {
  const [wide, window_] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(wide <= window_ + 1, `the page is ${wide} wide in a window of ${window_}`);
}
