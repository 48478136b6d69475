import { expect, test } from "vitest";
import { outlineOf } from "../src/brush";
import { counted, short } from "../src/clusters";
import { byColumn, byNumber } from "../src/colours";
import { drawingOrder } from "../src/dots";
import { unrolled } from "../src/land";
import { angle, extent, isInside, mercator, nearTo, rowsInside, turned } from "../src/points";
import { ringOf } from "../src/shapes";
import { layersFromText, layersToText, viewFromText, viewToText } from "../src/share";
import { dayText, numberText } from "../src/text";

const grid = Float64Array.from(Array.from({ length: 200 }, (_, at) => (at % 2 ? Math.floor(at / 20) : (at / 2) % 10)));

test("rows within a shape: a box, a triangle, a ring that turns back on itself", () => {
  const box = outlineOf("box", [[1.5, 2.5], [4.5, 3.5]]);
  expect([...rowsInside(grid, box)].map((row) => [grid[2 * row], grid[2 * row + 1]])).toEqual([[2, 3], [3, 3], [4, 3]]);
  expect(rowsInside(grid, [[-0.5, -0.5], [5, -0.5], [-0.5, 5]])).toHaveLength(5 + 4 + 3 + 2 + 1);
  expect(isInside(5, 5, [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0], [4, 4], [4, 6], [6, 6], [6, 4], [4, 4]])).toBe(false);
  expect(rowsInside(Float64Array.of(Number.NaN, Number.NaN), box)).toHaveLength(0);
  expect(rowsInside(grid, [])).toHaveLength(0);
});

test("places on the Mercator square", () => {
  const [x, y, none] = mercator(Float32Array.of(180, Number.NaN), Float32Array.of(0, 3));
  expect([x, y]).toEqual([1, 0.5]);
  expect(none).toBeNaN();
  expect(mercator(Float32Array.of(0), Float32Array.of(85.0511287798))[1]).toBeCloseTo(0, 4);
  expect(extent([1, Number.NaN, 2, 5])).toEqual([1, 5, 2, 5]);
  expect(extent([])).toBeNull();
});

test("longitudes across the antimeridian, angles over the pole", () => {
  expect([turned(190), turned(-190), turned(180), turned(540)]).toEqual([-170, 170, -180, -180]);
  expect(nearTo(179, -179)).toBe(181);
  expect(nearTo(-179, 179)).toBe(-181);
  expect((angle(0, 80, 180, 80) * 180) / Math.PI).toBeCloseTo(20, 9);
  expect((angle(179, 0, -179, 0) * 180) / Math.PI).toBeCloseTo(2, 9);
});

test("pictures are drawn before sounds, each row once", () => {
  const { order, pictures } = drawingOrder(Uint8Array.of(1, 0, 1, 0));
  expect([...order]).toEqual([1, 3, 0, 2]);
  expect(pictures).toBe(2);
});

test("counts of points, the most first; those without a place and outside are not counted", () => {
  const places = Float64Array.from([...Array(30).fill([0.11, 0.11]), ...Array(40).fill([0.31, 0.12]), ...Array(50).fill([Number.NaN, 0.1]), ...Array(60).fill([0.9, 0.9]), [0.5, 0.5]].flat());
  expect(counted(places, [0, 0, 0.6, 0.6], 0.1).map(({ count, x }) => [count, +x.toFixed(6)])).toEqual([[40, 0.31], [30, 0.11]]);
  expect(counted(places, [0, 0, 1, 1], 1e-9)[0]?.count).toBe(60);
  expect([24, 999, 1234, 23_456, 999_400, 999_999, 1e6].map(short)).toEqual(["24", "999", "1.2k", "23.5k", "999k", "1M", "1M"]);
});

test("a filter's ring: a box across the antimeridian goes on, its long sides are bent", () => {
  expect(ringOf({})).toBeNull();
  expect(ringOf({ box: [170, -5, -170, 5] })).toEqual([[170, -5], [190, -5], [190, 5], [170, 5]]);
  expect(ringOf({ box: [0, 0, 60, 1] })).toHaveLength(6);
  expect(ringOf({ polygon: [[1, 2], [3, 4], [5, 1]] })).toHaveLength(3);
});

test("land that crosses the antimeridian goes on", () => {
  const told = unrolled({ type: "Feature", properties: {}, geometry: { type: "Polygon", coordinates: [[[170, 0], [-170, 0], [-170, 10], [170, 10], [170, 0]]] } });
  expect(told.geometry.type === "MultiPolygon" && told.geometry.coordinates[0]![0]!.map(([lon]) => lon)).toEqual([170, 190, 190, 170, 170]);
});

test("the view of a link is believed only where it fits", () => {
  for (const text of ["8.50000,47.40000,12.00", "8.50000,47.40000,12.00,30.0,45.0", "8.50000,47.40000,1.00,globe"]) expect(viewToText(viewFromText(text)!)).toBe(text);
  for (const text of ["", "1,2", "1,2,3,4", "999,0,1", "0,91,1", "0,0,99", "0,0,1,0,99", "a,b,c", "1e9,0,0", "0,0,1,globe,globe", "NaN,0,0"]) expect(viewFromText(text)).toBeNull();
});

test("layers of a link are believed only where they fit", () => {
  const shown = { surf: { band: "score", ramp: "magma", opacity: 0.5, from: 90 } };
  expect(layersFromText(layersToText(shown))).toEqual(shown);
  expect(layersToText({})).toBe("");
  for (const text of ["", "{", "[]", "null", '{"a":1}', '{"a":{"band":"x","ramp":"y","opacity":2,"from":0}}', '{"a":{"band":1,"ramp":"y","opacity":1,"from":0}}']) expect(layersFromText(text)).toEqual({});
  expect(Object.getPrototypeOf(layersFromText('{"__proto__":{"band":"x","ramp":"y","opacity":1,"from":0}}'))).not.toBeNull();
});

test("numbers and days are written as people read them", () => {
  expect([2019, 0.01234, 1_234_567, 0.00001, -0.0332, 0, 12.5, 19_999.6, 3e12].map(numberText)).toEqual(["2019", "0.0123", "1,234,567", "1e-5", "-0.0332", "0", "12.5", "20,000", "3e12"]);
  expect([dayText(0), dayText(19_723.5)]).toEqual(["1970-01-01", "2024-01-01"]);
});

test("the ends of colours are those of the column's kind; without a value there are none", () => {
  expect(byColumn({ name: "t", kind: "time" }, Float32Array.of(0, Number.NaN, 365)).ends).toEqual(["1970-01-01", "1971-01-01"]);
  const { names, colours } = byNumber(Float32Array.of(Number.NaN), numberText);
  expect(names?.[0]?.[0]).toBe("no values");
  expect([...colours]).toEqual([140, 140, 140]);
  expect(byNumber(Float32Array.of(1, Number.POSITIVE_INFINITY, 3), numberText).ends).toEqual(["1", "3"]);
});
