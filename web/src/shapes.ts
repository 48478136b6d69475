// Shapes on the map: where a filter applies, the polygon that is being drawn, the ground that pictures show.

import type { ExpressionSpecification, GeoJSONSource, Map as LibreMap } from "maplibre-gl";
import { getJson, type Item } from "./api";
import { placeAsked } from "./asking";
import { nearTo, turned } from "./points";
import type { State, Store } from "./state";

type Ring = [number, number][];
const FILTER = "#c2410c";
const OPEN = "#d11a1a";
const ASKED = "#111111";

/** Adds the shapes to the map, keeps them as the state tells, and lets polygons be drawn corner by corner. */
export function mountShapes(map: LibreMap, store: Store): void {
  map.addSource("shapes", { type: "geojson", data: { type: "FeatureCollection", features: [] } });
  const colour: ExpressionSpecification = ["match", ["get", "kind"], "open", OPEN, "hit", "#111111", FILTER];
  map.addLayer({ id: "shape-fill", type: "fill", source: "shapes", filter: ["==", ["get", "kind"], "filter"], paint: { "fill-color": FILTER, "fill-opacity": 0.08 } });
  map.addLayer({ id: "shape-rim", type: "line", source: "shapes", filter: ["!=", ["geometry-type"], "Point"], paint: { "line-color": "#ffffff", "line-width": 4, "line-opacity": 0.7 } });
  map.addLayer({ id: "shape-line", type: "line", source: "shapes", filter: ["!=", ["geometry-type"], "Point"], paint: { "line-color": colour, "line-width": 2 } });
  map.addLayer({ id: "shape-corner", type: "circle", source: "shapes", filter: ["==", ["get", "kind"], "drawing"], paint: { "circle-color": FILTER, "circle-radius": 4 } });
  const asked: ExpressionSpecification = ["==", ["get", "kind"], "asked"];
  map.addLayer({ id: "shape-asked", type: "circle", source: "shapes", filter: asked, paint: { "circle-color": "#ffffff", "circle-radius": 5, "circle-stroke-color": ASKED, "circle-stroke-width": 3 } });
  let corners: Ring = [];
  let open: Item | null = null;
  let loading: AbortController | null = null;
  const draw = () => {
    const { query, answer, row } = store.get();
    const shapes: GeoJSON.Feature[] = [];
    const ring = ringOf(query.filters);
    if (ring) shapes.push(polygonOf(ring, "filter"));
    const seen = answer?.hits.filter((hit) => hit.row !== row) ?? [];
    for (const { footprint } of seen) if (footprint) shapes.push(polygonOf(footprint, "hit"));
    if (open?.footprint && open.row === row) shapes.push(polygonOf(open.footprint, "open"));
    const place = placeAsked(query);
    if (place) shapes.push({ type: "Feature", properties: { kind: "asked" }, geometry: { type: "Point", coordinates: place } });
    if (corners.length) {
      shapes.push({ type: "Feature", properties: { kind: "drawing" }, geometry: { type: "LineString", coordinates: corners } });
      shapes.push(...corners.map((corner): GeoJSON.Feature => ({ type: "Feature", properties: { kind: "drawing" }, geometry: { type: "Point", coordinates: corner } })));
    }
    map.getSource<GeoJSONSource>("shapes")?.setData({ type: "FeatureCollection", features: shapes });
  };
  const look = async ({ row, answer }: State) => {
    loading?.abort();
    open = [answer?.picture, ...(answer?.hits ?? [])].find((item) => item?.row === row) ?? null;
    draw();
    if (row === null || open) return;
    const control = new AbortController();
    loading = control;
    try {
      open = await getJson<Item>(`api/items/${row}`, control.signal);
      draw();
    } catch {
      // the card of the item says why
    }
  };
  store.on((state, before) => {
    if (state.pick !== "polygon") corners = [];
    if (state.row !== before.row) void look(state);
    else if (state.query !== before.query || state.answer !== before.answer || state.pick !== before.pick) draw();
  });
  void look(store.get());

  const finish = () => {
    const polygon = corners.filter((corner, at) => at === 0 || String(corner) !== String(corners[at - 1]));
    if (polygon.length < 3) return store.set({ says: `a polygon has three corners at least; ${polygon.length} are set` });
    corners = [];
    store.set({ picked: { polygon }, pick: "look" });
  };
  map.on("click", ({ lngLat }) => {
    if (store.get().pick !== "polygon") return;
    corners.push([nearTo(corners[0]?.[0] ?? turned(lngLat.lng), lngLat.lng), lngLat.lat]);
    store.set({ says: corners.length < 3 ? `corner ${corners.length}` : `corner ${corners.length}; a double click or Enter ends the polygon` });
    draw();
  });
  map.on("dblclick", (event) => {
    if (store.get().pick !== "polygon") return;
    event.preventDefault();
    finish();
  });
  document.addEventListener("keydown", (event) => {
    if (store.get().pick !== "polygon" || !corners.length || (event.target instanceof Element && event.target.closest("input, select, textarea, button, a"))) return;
    if (event.key === "Enter") finish();
    else if (event.key === "Backspace") corners.pop();
    else return;
    event.preventDefault();
    draw();
  });
}

/** The ring of a filter's box or polygon. */
export function ringOf({ box, polygon }: State["query"]["filters"]): Ring | null {
  if (polygon?.length) return polygon;
  if (!box) return null;
  const [west, south, given, north] = box;
  const east = given < west ? given + 360 : given;
  const steps = Math.max(1, Math.ceil((east - west) / 30)); // sides along parallels are bent on the globe
  const along = Array.from({ length: steps + 1 }, (_, step) => west + ((east - west) * step) / steps);
  return [...along.map((lon): [number, number] => [lon, south]), ...along.reverse().map((lon): [number, number] => [lon, north])];
}

function polygonOf(ring: Ring, kind: string): GeoJSON.Feature {
  const first = ring[0]![0];
  const shifted = ring.map(([lon, lat]) => [kind === "filter" ? lon : nearTo(first, lon), lat]);
  return { type: "Feature", properties: { kind }, geometry: { type: "Polygon", coordinates: [[...shifted, shifted[0]!]] } };
}
