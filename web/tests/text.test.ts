import { expect, test } from "vitest";
import { clock, percentileText, placeText, readBox, readPlace, readPolygon, within } from "../src/text";

test("a place is longitude, latitude, with or without letters", () => {
  expect(readPlace("8.54, 47.37")).toEqual({ place: [8.54, 47.37], hint: null });
  expect(readPlace(" -70.5;-33 ")).toEqual({ place: [-70.5, -33], hint: null });
  expect(readPlace("47.37° N, 8.54° W")).toEqual({ place: [-8.54, 47.37], hint: null });
  expect(readPlace("8.54 E 47.37 S")).toEqual({ place: [8.54, -47.37], hint: null });
});

test("a place that cannot be is told why, and how it is meant", () => {
  expect(readPlace("47.4, 120")).toEqual({ wrong: expect.stringContaining("they look swapped: type 120, 47.4") });
  expect(readPlace("200, 300")).toEqual({ wrong: expect.stringContaining("latitude 300") });
  expect(readPlace("200, 30")).toEqual({ wrong: expect.stringContaining("longitude 200") });
  expect(readPlace("8 N, 9 S")).toHaveProperty("wrong");
  expect(readPlace("Zurich")).toHaveProperty("wrong");
});

test("a place outside the data that would lie within it when swapped is asked about", () => {
  const swiss: [number, number, number, number] = [6, 45, 11, 48];
  expect(readPlace("47.4, 8.5", swiss)).toMatchObject({ hint: expect.stringContaining("did you mean 8.5, 47.4?") });
  expect(readPlace("8.5, 47.4", swiss)).toMatchObject({ hint: null });
  expect(readPlace("0, 0", swiss)).toMatchObject({ hint: expect.stringContaining("outside the data") });
  expect(within(-179, 0, [170, -10, 190, 10])).toBe(true);
});

test("boxes and polygons as typed", () => {
  expect(readBox("170, -10, -170, 10")).toEqual({ box: [170, -10, -170, 10] });
  expect(readBox("1,2,3")).toHaveProperty("wrong");
  expect(readBox("1, 20, 3, 10")).toEqual({ wrong: expect.stringContaining("south 20") });
  expect(readPolygon("POLYGON((0 0, 1 0, 1 1, 0 0))")).toEqual({ polygon: [[0, 0], [1, 0], [1, 1], [0, 0]] });
  expect(readPolygon("0 0, 1 0")).toHaveProperty("wrong");
  expect(readPolygon("0 0, 1 95, 1 1")).toHaveProperty("wrong");
});

test("numbers as people read them", () => {
  expect(clock(83.24)).toBe("1:23.2");
  expect(clock(59.97)).toBe("1:00.0");
  expect(percentileText(99.953)).toBe("99.95");
  expect(percentileText(100)).toBe("100.0");
  expect(placeText(364.25, -1)).toBe("1.0000° S, 4.2500° E");
  expect(placeText(-180, 10)).toBe("10.0000° N, 180.0000° W");
});
