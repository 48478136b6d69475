// Which points lie below a shape that was drawn on the map, as the map is turned, tilted or round.

import { type Map as LibreMap, MercatorCoordinate } from "maplibre-gl";
import type { Spot } from "./brush";
import { angle, isInside, type Points, rowsInside, turned } from "./points";

const STEPS = 8; // along each side of a shape on the globe, whose sides are bent
const ROOM = 1.2;
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

/** The rows drawn within so many pixels of a position, the nearest first. */
export function rowsNear(map: LibreMap, points: Points, places: Float64Array, x: number, y: number, pixels: number): number[] {
  const square: Spot[] = [[x - pixels, y - pixels], [x + pixels, y - pixels], [x + pixels, y + pixels], [x - pixels, y + pixels]];
  const away = new Map<number, number>();
  for (const row of rowsUnder(map, points, places, square)) {
    const at = map.project([points.lon[row]!, points.lat[row]!]);
    away.set(row, Math.round(4 * Math.hypot(at.x - x, at.y - y)) / 4);
  }
  return [...away.keys()].sort((one, other) => away.get(one)! - away.get(other)! || one - other);
}

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
