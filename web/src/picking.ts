// Which points lie below a shape that was drawn on the map, as the map is turned, tilted or round.

import { type Map as LibreMap, MercatorCoordinate } from "maplibre-gl";
import type { Spot } from "./brush";
import { angle, isInside, type Points, rowsInside, turned } from "./points";

const STEPS = 8; // along each side of a shape on the globe, whose sides are bent
const ROOM = 1.2;
const NEAR_PX = 9;
const SAME_PX = 2;
const RADIANS = Math.PI / 180;

export const isGlobe = (map: LibreMap): boolean => map.getProjection()?.type === "globe";

/** Whether a place lies on the side of the globe that is turned away. */
export function isBehind(map: LibreMap, lon: number, lat: number): boolean {
  if (!isGlobe(map)) return false;
  const back = map.unproject(map.project([lon, lat]));
  return angle(lon, lat, back.lng, back.lat) > 1.5 * RADIANS;
}

/** The rows whose points are drawn within an outline in pixels; `places` are theirs on the Mercator square. */
export function rowsUnder(map: LibreMap, points: Points, places: Float64Array, outline: Spot[]): Uint32Array {
  if (!isGlobe(map)) {
    return rowsInside(places, outline.map((spot) => {
      const { x, y } = MercatorCoordinate.fromLngLat(map.unproject(spot));
      return [x, y];
    }));
  }
  const middle = map.unproject([mean(outline.map(([x]) => x)), mean(outline.map(([, y]) => y))]);
  const reach = ROOM * Math.max(...sides(outline).map((spot) => {
    const at = map.unproject(spot);
    return angle(middle.lng, middle.lat, at.lng, at.lat);
  })) + 1e-6;
  const found: number[] = [];
  for (let row = 0; row < points.rows; row += 1) {
    const [lon, lat] = [points.lon[row]!, points.lat[row]!];
    if (!(Math.abs(lat - middle.lat) * RADIANS <= reach && angle(lon, lat, middle.lng, middle.lat) <= reach)) continue;
    const { x, y } = map.project([lon, lat]);
    if (isInside(x, y, outline) && !isBehind(map, lon, lat)) found.push(row);
  }
  return Uint32Array.from(found);
}

/** The row drawn nearest to a position within a few pixels, then those that are drawn at the same place as it. */
export function rowsAt(map: LibreMap, points: Points, places: Float64Array, [x, y]: Spot): number[] {
  const square: Spot[] = [[x - NEAR_PX, y - NEAR_PX], [x + NEAR_PX, y - NEAR_PX], [x + NEAR_PX, y + NEAR_PX], [x - NEAR_PX, y + NEAR_PX]];
  const rows = rowsUnder(map, points, places, square);
  let last: { row: number; x: number; y: number } | null = null; // a million points may lie at one place
  const drawn = (row: number): { x: number; y: number } => {
    const same = last !== null && points.lon[row] === points.lon[last.row] && points.lat[row] === points.lat[last.row];
    if (!same) last = { row, ...plain(map.project([points.lon[row]!, points.lat[row]!])) };
    return last!;
  };
  const away = (row: number, from: { x: number; y: number }): number => {
    const at = drawn(row);
    return Math.hypot(at.x - from.x, at.y - from.y);
  };
  let [best, least]: [number | null, number] = [null, Infinity];
  for (const row of rows) {
    const distance = away(row, { x, y });
    if (distance < least) [best, least] = [row, distance];
  }
  if (best === null) return [];
  const [first, from] = [best, plain(drawn(best))];
  return [first, ...[...rows].filter((row) => row !== first && away(row, from) <= SAME_PX)];
}

const plain = ({ x, y }: { x: number; y: number }): { x: number; y: number } => ({ x, y });

/** West, south, east, north around an outline in pixels; east above 180 across the antimeridian. */
export function boxAround(map: LibreMap, outline: Spot[]): [number, number, number, number] {
  const around = map.getCenter().lng;
  const corners = sides(outline).map((spot) => map.unproject(spot));
  const east = corners.map(({ lng }) => (isGlobe(map) ? around + turned(lng - around) : Math.max(-180, Math.min(180, lng))));
  const north = corners.map(({ lat }) => lat);
  const turn = Math.min(...east) < -180 ? 360 : 0;
  return [Math.min(...east) + turn, Math.min(...north), Math.max(...east) + turn, Math.max(...north)];
}

function sides(outline: Spot[]): Spot[] {
  return outline.flatMap(([x0, y0], at) => {
    const [x1, y1] = outline[(at + 1) % outline.length]!;
    return Array.from({ length: STEPS }, (_, step): Spot => [x0 + ((x1 - x0) * step) / STEPS, y0 + ((y1 - y0) * step) / STEPS]);
  });
}

const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
