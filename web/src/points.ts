// All rows as arrays: where they lie on the Earth and on the plane, what they are; and the columns that colour them.

import { type Column, getArrays, type Numbers } from "./api";

export const NONE = 65_535;
const RADIANS = Math.PI / 180;

export class Points {
  private readonly kept = new Map<string, Promise<Numbers>>();

  private constructor(
    readonly rows: number, readonly lon: Float32Array, readonly lat: Float32Array, readonly x: Float32Array,
    readonly y: Float32Array, readonly modality: Uint8Array,
  ) {}

  static async load(): Promise<Points> {
    const { lon, lat, x, y, modality } = await getArrays("api/points");
    if (!(lon instanceof Float32Array && lat instanceof Float32Array && modality instanceof Uint8Array)) {
      throw new Error("the server's points are not those of this page; load the page again");
    }
    const none = new Float32Array(x instanceof Float32Array && y instanceof Float32Array ? 0 : lon.length).fill(Number.NaN);
    const plane = (values: Numbers | undefined) => (values instanceof Float32Array ? values : none);
    return new Points(lon.length, lon, lat, plane(x), plane(y), modality);
  }

  /** The values of a column, one a row; asked for once. */
  column(column: Column): Promise<Numbers> {
    let found = this.kept.get(column.name);
    if (!found) {
      found = getArrays(`api/columns/${encodeURIComponent(column.name)}`).then(({ values }) => {
        if (!values) throw new Error(`the column ${column.name.slice(0, 80)} did not come`);
        return values;
      });
      this.kept.set(column.name, found);
      found.catch(() => this.kept.delete(column.name));
    }
    return found;
  }
}

/** Longitude and latitude as positions (x, y) of the web's Mercator square, 0 to 1; NaN where there is none. */
export function mercator(lon: Float32Array, lat: Float32Array): Float64Array {
  const found = new Float64Array(2 * lon.length);
  for (let row = 0; row < lon.length; row += 1) {
    const sine = Math.sin((Math.max(-85.051, Math.min(85.051, lat[row]!)) * Math.PI) / 180);
    found[2 * row] = (lon[row]! + 180) / 360;
    found[2 * row + 1] = 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
  }
  return found;
}

/** Two arrays as one of pairs. */
export function pairs(x: Float32Array, y: Float32Array): Float32Array {
  const found = new Float32Array(2 * x.length);
  for (let row = 0; row < x.length; row += 1) {
    found[2 * row] = x[row]!;
    found[2 * row + 1] = y[row]!;
  }
  return found;
}

/** The least and greatest of each coordinate of pairs, those that are no numbers left out; null where there is none. */
export function extent(places: ArrayLike<number>): [number, number, number, number] | null {
  let [west, south, east, north] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let at = 0; at < places.length; at += 2) {
    const [x, y] = [places[at]!, places[at + 1]!];
    if (x < west) west = x;
    if (x > east) east = x;
    if (y < south) south = y;
    if (y > north) north = y;
  }
  return west <= east && south <= north ? [west, south, east, north] : null;
}

/** The rows whose place (pairs) lies within a polygon, by the even-odd rule. */
export function rowsInside(places: Float32Array | Float64Array, polygon: [number, number][]): Uint32Array {
  const found: number[] = [];
  const [west, south, east, north] = extent(polygon.flat()) ?? [0, 0, -1, -1];
  for (let row = 0; 2 * row < places.length; row += 1) {
    const [x, y] = [places[2 * row]!, places[2 * row + 1]!];
    if (x >= west && x <= east && y >= south && y <= north && isInside(x, y, polygon)) found.push(row);
  }
  return Uint32Array.from(found);
}

/** Whether a place lies within a polygon, by the even-odd rule. */
export function isInside(x: number, y: number, polygon: [number, number][]): boolean {
  let inside = false;
  for (let at = 0, before = polygon.length - 1; at < polygon.length; before = at, at += 1) {
    const [[x0, y0], [x1, y1]] = [polygon[before]!, polygon[at]!];
    if (y0 > y !== y1 > y && x < x0 + ((x1 - x0) * (y - y0)) / (y1 - y0)) inside = !inside;
  }
  return inside;
}

/** A longitude from -180 to 180. */
export const turned = (longitude: number): number => ((((longitude + 180) % 360) + 360) % 360) - 180;

/** West and east of the narrowest stretch that holds longitudes; east above 180 across the antimeridian. */
export function widthAround(longitudes: number[]): [number, number] {
  const sorted = longitudes.map(turned).sort((one, other) => one - other);
  const gaps = sorted.map((lon, at) => (at + 1 < sorted.length ? sorted[at + 1]! : sorted[0]! + 360) - lon);
  const widest = gaps.indexOf(Math.max(...gaps));
  const [west, east] = [sorted[(widest + 1) % sorted.length]!, sorted[widest]!];
  return [west, east < west ? east + 360 : east];
}

/** A longitude as near as can be to another, beyond 180 if need be: so shapes go on across the antimeridian. */
export const nearTo = (first: number, longitude: number): number => first + turned(longitude - first);

const EARTH_KM = 6371.0088;

/** How far two places are from each other, on a sphere. */
export const kmBetween = (one: [number, number], other: [number, number]): number => EARTH_KM * angle(...one, ...other);

/** The angle between two places, in radians. */
export function angle(lon0: number, lat0: number, lon1: number, lat1: number): number {
  const [north, east] = [Math.sin(((lat1 - lat0) * RADIANS) / 2), Math.sin(((lon1 - lon0) * RADIANS) / 2)];
  return 2 * Math.asin(Math.min(1, Math.sqrt(north * north + Math.cos(lat0 * RADIANS) * Math.cos(lat1 * RADIANS) * east * east)));
}
