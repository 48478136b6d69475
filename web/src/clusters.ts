// How many points lie where many do, as numbers over the map.

import { type Map as LibreMap, MercatorCoordinate } from "maplibre-gl";
import { h } from "./dom";
import { isBehind } from "./picking";

const CELL_PX = 72;
const LEAST = 24;
const MOST_LABELS = 60;
const MOST_CELLS = 200_000;

export class Clusters {
  private labels: { element: HTMLElement; lon: number; lat: number }[] = [];

  /** `places` are pairs on the Mercator square. */
  constructor(private readonly map: LibreMap, private readonly place: HTMLElement, private readonly places: Float64Array) {
    map.on("move", () => this.move());
    map.on("moveend", () => this.count());
    map.on("resize", () => this.count());
    this.count();
  }

  /** Counts anew. */
  count(): void {
    const bounds = this.map.getBounds();
    const [low, high] = [MercatorCoordinate.fromLngLat(bounds.getSouthWest()), MercatorCoordinate.fromLngLat(bounds.getNorthEast())];
    const found = counted(this.places, [low.x, high.y, high.x, low.y], CELL_PX / (512 * 2 ** this.map.getZoom()));
    this.labels = found.map(({ count, x, y }) => {
      const { lng, lat } = new MercatorCoordinate(x, y).toLngLat();
      return { element: h("span", {}, short(count)), lon: lng, lat };
    });
    this.place.replaceChildren(...this.labels.map((label) => label.element));
    this.move();
  }

  private move(): void {
    for (const { element, lon, lat } of this.labels) {
      const { x, y } = this.map.project([lon, lat]);
      element.hidden = isBehind(this.map, lon, lat);
      element.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
    }
  }
}

/** Where many of the pairs lie within a box: how many, and their middle, the most first. */
export function counted(places: Float64Array, [west, north, east, south]: [number, number, number, number], cell: number): { count: number; x: number; y: number }[] {
  const side = Math.max(cell, Math.sqrt(((east - west) * (south - north)) / MOST_CELLS));
  const [left, top] = [Math.floor(west / side), Math.floor(north / side)];
  const [wide, high] = [Math.floor(east / side) - left + 1, Math.floor(south / side) - top + 1];
  if (!(wide > 0 && high > 0)) return [];
  const sums = new Float64Array(3 * wide * high);
  for (let at = 0; at < places.length; at += 2) {
    const [x, y] = [places[at]!, places[at + 1]!];
    if (!(x >= west && x <= east && y >= north && y <= south)) continue;
    const number = 3 * (Math.floor(x / side) - left + wide * (Math.floor(y / side) - top));
    sums[number]! += 1;
    sums[number + 1]! += x;
    sums[number + 2]! += y;
  }
  const found: { count: number; x: number; y: number }[] = [];
  for (let at = 0; at < sums.length; at += 3) {
    const count = sums[at]!;
    if (count >= LEAST) found.push({ count, x: sums[at + 1]! / count, y: sums[at + 2]! / count });
  }
  return found.sort((one, other) => other.count - one.count).slice(0, MOST_LABELS);
}

/** 1234 as "1.2k". */
export const short = (count: number): string =>
  count < 1000 ? String(count) : count < 999_500 ? `${+(count / 1e3).toPrecision(count < 10_000 ? 2 : 3)}k` : `${+(count / 1e6).toPrecision(2)}M`;
