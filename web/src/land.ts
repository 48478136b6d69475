// What lies below the points: outlines of the land, or tiles of one's own.

import type { Map as LibreMap, StyleSpecification } from "maplibre-gl";
import { feature } from "topojson-client";
import type { Topology } from "topojson-specification";
import landUrl from "world-atlas/land-50m.json?url";
import type { About } from "./api";

const COLOURS = { light: { sea: "#cfdbe4", land: "#f4f1e8", coast: "#9aa39b" }, dark: { sea: "#16222c", land: "#2d3530", coast: "#5b675f" } };
const coloursOf = (dark: boolean) => COLOURS[dark ? "dark" : "light"];

export const isDark = (): boolean => {
  const told = document.documentElement.dataset.theme;
  return told ? told === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

export function styleOf({ basemap: { kind, url } }: About): StyleSpecification {
  const style: StyleSpecification = { version: 8, sources: {}, layers: [{ id: "sea", type: "background", paint: { "background-color": coloursOf(isDark()).sea } }] };
  if (kind === "tiles" && url) {
    style.sources.base = { type: "raster", tiles: [url], tileSize: 256 };
    style.layers.push({ id: "base", type: "raster", source: "base" });
  }
  return style;
}

/** Adds outlines of the land, unless tiles are shown. */
export async function addLand(map: LibreMap): Promise<void> {
  if (map.getLayer("base")) return;
  const answer = await fetch(landUrl);
  if (!answer.ok) throw new Error(`the outline of the land did not come (${answer.status}); load the page again`);
  const told = (await answer.json()) as Topology;
  const colours = coloursOf(isDark());
  map.addSource("land", { type: "geojson", data: unrolled(feature(told, told.objects.land!)) });
  map.addLayer({ id: "land", type: "fill", source: "land", paint: { "fill-color": colours.land, "fill-antialias": false } });
  map.addLayer({ id: "coast", type: "line", source: "land", paint: { "line-color": colours.coast, "line-width": 0.7 } });
}

export function setTheme(map: LibreMap): void {
  const colours = coloursOf(isDark());
  map.setPaintProperty("sea", "background-color", colours.sea);
  if (map.getLayer("land")) map.setPaintProperty("land", "fill-color", colours.land);
  if (map.getLayer("coast")) map.setPaintProperty("coast", "line-color", colours.coast);
}

/** Land whose rings go on beyond 180 degrees where they cross it, and to the pole where they go round it. */
export function unrolled(land: GeoJSON.FeatureCollection | GeoJSON.Feature): GeoJSON.Feature {
  const found: GeoJSON.Position[][][] = [];
  for (const { geometry } of "features" in land ? land.features : [land]) {
    const polygons = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.type === "MultiPolygon" ? geometry.coordinates : [];
    found.push(...polygons.map(([outer = [], ...holes]) => [unrolledRing(outer), ...holes.filter((hole) => !hole.some(([, lat = 0]) => lat < -89.9))]));
  }
  return { type: "Feature", properties: {}, geometry: { type: "MultiPolygon", coordinates: found } };
}

function unrolledRing(ring: GeoJSON.Position[]): GeoJSON.Position[] {
  let turns = 0;
  const found = ring.map(([lon = 0, lat = 0], number) => {
    const step = number ? lon - ring[number - 1]![0]! : 0;
    if (Math.abs(step) > 180) turns -= Math.sign(step);
    return [lon + 360 * turns, lat];
  });
  const middle = found.reduce((sum, [lon = 0]) => sum + lon, 0) / found.length;
  const back = 360 * Math.round(middle / 360);
  if (turns === 0) return back ? found.map(([lon = 0, lat = 0]) => [lon - back, lat]) : found;
  const pole = found[0]![1]! < 0 ? -90 : 90;
  return [...found, [found.at(-1)![0]!, pole], [found[0]![0]!, pole], found[0]!];
}
