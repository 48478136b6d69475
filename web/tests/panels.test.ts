import { expect, test } from "vitest";
import { arraysOf } from "../src/api";
import { rangeOf } from "../src/filters";
import { wav } from "../src/record";

test("a recording is a WAV file of 16 bits", () => {
  const view = new DataView(wav([new Float32Array([0, 1, -1]), new Float32Array([2])], 48_000));
  const text = (at: number) => String.fromCharCode(...[0, 1, 2, 3].map((step) => view.getUint8(at + step)));
  expect([text(0), text(8), text(12), text(36)]).toEqual(["RIFF", "WAVE", "fmt ", "data"]);
  expect([view.getUint32(4, true), view.getUint32(24, true), view.getUint32(28, true), view.getUint32(40, true)]).toEqual([44, 48_000, 96_000, 8]);
  expect([0, 1, 2, 3].map((step) => view.getInt16(44 + 2 * step, true))).toEqual([0, 32_767, -32_767, 32_767]);
});

test("ranges of a number column", () => {
  expect(rangeOf("3..8")).toEqual(["3", "8"]);
  expect(rangeOf("..8")).toEqual(["", "8"]);
  expect(rangeOf("3")).toEqual(["3", "3"]);
  for (const text of ["..", "a..b", "1..2..3"]) expect(rangeOf(text)).toBeNull();
});

test("arrays of a binary answer are read where its head says", () => {
  const head = new TextEncoder().encode(JSON.stringify({ rows: 2, arrays: [{ name: "lon", dtype: "f4", offset: 256, length: 2 }, { name: "modality", dtype: "u1", offset: 264, length: 2 }] }));
  const buffer = new ArrayBuffer(266);
  new Uint8Array(buffer).set(new TextEncoder().encode("ETP1"));
  new DataView(buffer).setUint32(4, head.length, true);
  new Uint8Array(buffer).set(head, 8);
  new Float32Array(buffer, 256, 2).set([1.5, Number.NaN]);
  new Uint8Array(buffer, 264, 2).set([0, 1]);
  const found = arraysOf(buffer);
  expect([...found.lon!]).toEqual([1.5, Number.NaN]);
  expect([...found.modality!]).toEqual([0, 1]);
  expect(() => arraysOf(new ArrayBuffer(16))).toThrow("no table");
});
