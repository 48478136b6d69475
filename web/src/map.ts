// The map: land, points, layers below them; a click asks what is there, a drag with a brush selects.

import { addProtocol, type CustomRenderMethodInput, Map as LibreMap, NavigationControl, ScaleControl, setWorkerUrl, type StyleSpecification } from "maplibre-gl";
import workerUrl from "maplibre-gl/dist/maplibre-gl-worker.mjs?url";
import { feature } from "topojson-client";
import type { Topology } from "topojson-specification";
import landUrl from "world-atlas/land-50m.json?url";
import "maplibre-gl/dist/maplibre-gl.css";
import type { About } from "./api";
import { add, h } from "./dom";
import { Dots } from "./dots";
import { mercator, type Points, rowsWithin } from "./points";
import { emptyQuery, type Picked, type Store } from "./state";

const NEAR_PX = 9;
const SETTLED_MS = 1500;
const CLUSTER_PX = 72;
const LEAST_IN_CLUSTER = 24;
const MOST_CLUSTERS = 60;
const LAND = { light: ["#cfdbe4", "#f4f1e8", "#9aa39b"], dark: ["#16222c", "#2d3530", "#5b675f"] };

export interface MapPart { map: LibreMap; redraw: () => void; setColours: (colours: Uint8Array) => void; setMarks: (marks: Uint8Array, some: boolean) => void; setTheme: (dark: boolean) => void }

/** Fills the region of the map; resolves once it is drawn. */
export async function mountMap(place: HTMLElement, store: Store, points: Points, about: About, view: number[] | null): Promise<MapPart> {
  setWorkerUrl(new URL(workerUrl, location.href).href);
  const frame = h("div", { class: "view" });
  const clusters = h("div", { class: "clusters", "aria-hidden": "true" });
  const brush = h("button", { type: "button", "aria-pressed": "false" }, "Brush");
  const globe = h("button", { type: "button", "aria-pressed": "false" }, "Globe");
  const centre = h("button", { type: "button", title: "What is likely heard at the middle of the map" }, "Ask here");
  const whole = h("button", { type: "button" }, "All data");
  add(place, h("div", { class: "bar", role: "group", "aria-label": "Map tools" }, brush, globe, centre, whole), frame);
  const map = new LibreMap({
    container: frame, style: styleOf(about, isDark()), attributionControl: false, renderWorldCopies: false, fadeDuration: 0,
    maxZoom: 19, canvasContextAttributes: { antialias: false }, locale: { "Map.Title": "Map; arrows move it, plus and minus zoom" },
    ...(view ? { center: [view[0]!, view[1]!], zoom: view[2]! } : about.bounds ? { bounds: about.bounds, fitBoundsOptions: { padding: 30, maxZoom: 12 } } : { center: [0, 20], zoom: 1 }),
  });
  map.addControl(new NavigationControl({ visualizePitch: true }), "top-right");
  map.addControl(new ScaleControl({}), "bottom-left");
  add(frame, clusters);
  await new Promise((done) => void map.once("load", done));
  await addLand(map);
  const places = mercator(points.lon, points.lat);
  const layer = new PointLayer(places, points.rows);
  map.addLayer(layer);
  const counted = new Clusters(map, clusters, points);
  map.on("move", () => counted.move());
  map.on("moveend", () => counted.count());
  counted.count();
  await settled(map);

  const press = (button: HTMLElement, on: boolean) => button.setAttribute("aria-pressed", String(on));
  brush.addEventListener("click", () => press(brush, brush.getAttribute("aria-pressed") !== "true"));
  globe.addEventListener("click", () => {
    const on = globe.getAttribute("aria-pressed") !== "true";
    press(globe, on);
    map.setProjection({ type: on ? "globe" : "mercator" });
    counted.count();
  });
  whole.addEventListener("click", () => about.bounds && map.fitBounds(about.bounds, { padding: 30, maxZoom: 12 }));
  const ask = (longitude: number, latitude: number) => store.set({ query: { ...emptyQuery(), k: store.get().query.k, filters: store.get().query.filters, like: [{ place: [longitude, latitude] }] }, says: "asking what is likely heard there" });
  centre.addEventListener("click", () => ask(turned(map.getCenter().lng), map.getCenter().lat));
  map.on("click", ({ point, lngLat }) => {
    if (store.get().pick === "place") return picked(store, { place: [turned(lngLat.lng), lngLat.lat] });
    if (store.get().pick !== "look" || brush.getAttribute("aria-pressed") === "true") return;
    const row = nearest(map, points, point.x, point.y);
    if (row !== null && points.modality[row] === 1) store.set({ row });
    else ask(row === null ? turned(lngLat.lng) : points.lon[row]!, row === null ? lngLat.lat : points.lat[row]!);
  });
  drawn(map, frame, store, () => brush.getAttribute("aria-pressed") === "true", (box) => {
    const selected = rowsWithin(pairsOf(points), box);
    store.set({ selected, says: `${selected.length.toLocaleString("en")} selected` });
  });
  return {
    map, redraw: () => map.triggerRepaint(),
    setColours: (colours) => { layer.colours = colours; map.triggerRepaint(); },
    setMarks: (marks, some) => { layer.marks = marks; layer.dim = some ? 0.15 : 0.85; map.triggerRepaint(); },
    setTheme: (dark) => {
      const [sea, land, line] = LAND[dark ? "dark" : "light"];
      map.setPaintProperty("sea", "background-color", sea);
      if (map.getLayer("land")) map.setPaintProperty("land", "fill-color", land);
      if (map.getLayer("coast")) map.setPaintProperty("coast", "line-color", line);
    },
  };
}

export { addProtocol };

/** Until all is drawn that is on its way, but not for ever: tiles of others may be slow. */
const settled = (map: LibreMap): Promise<unknown> => Promise.race([new Promise((done) => void map.once("idle", done)), new Promise((done) => setTimeout(done, SETTLED_MS))]);

export const isDark = (): boolean => {
  const told = document.documentElement.dataset.theme;
  return told ? told === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

const turned = (longitude: number): number => ((((longitude + 180) % 360) + 360) % 360) - 180;
let lonLat: Float32Array | null = null;
function pairsOf(points: Points): Float32Array {
  if (!lonLat) {
    lonLat = new Float32Array(2 * points.rows);
    for (let row = 0; row < points.rows; row += 1) [lonLat[2 * row], lonLat[2 * row + 1]] = [points.lon[row]!, points.lat[row]!];
  }
  return lonLat;
}

function styleOf(about: About, dark: boolean): StyleSpecification {
  const { kind, url } = about.basemap;
  const style: StyleSpecification = {
    version: 8, sources: {}, layers: [{ id: "sea", type: "background", paint: { "background-color": LAND[dark ? "dark" : "light"][0] } }],
  };
  if (kind === "tiles" && url) {
    style.sources.base = { type: "raster", tiles: [url], tileSize: 256 };
    style.layers.push({ id: "base", type: "raster", source: "base" });
  }
  return style;
}

/** Adds outlines of the land, unless tiles are shown. */
async function addLand(map: LibreMap): Promise<void> {
  if (map.getLayer("base")) return;
  const [, land, line] = LAND[isDark() ? "dark" : "light"] as [string, string, string];
  const told = (await (await fetch(landUrl)).json()) as Topology;
  map.addSource("land", { type: "geojson", data: unrolled(feature(told, told.objects.land!)) });
  map.addLayer({ id: "land", type: "fill", source: "land", paint: { "fill-color": land, "fill-antialias": false } });
  map.addLayer({ id: "coast", type: "line", source: "land", paint: { "line-color": line, "line-width": 0.7 } });
}

/** Land whose rings go on beyond 180 degrees where they cross it, and to the pole where they go round it. */
function unrolled(land: GeoJSON.FeatureCollection | GeoJSON.Feature): GeoJSON.Feature {
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

class PointLayer {
  readonly id = "points";
  readonly type = "custom";
  readonly renderingMode = "2d";
  colours: Uint8Array;
  marks: Uint8Array;
  dim = 0.85;
  private dots: Dots | null = null;
  private shown: [Uint8Array, Uint8Array] | null = null;
  private map: LibreMap | null = null;

  constructor(private readonly places: Float32Array, private readonly rows: number) {
    this.colours = new Uint8Array(3 * rows).fill(90);
    this.marks = new Uint8Array(rows);
  }

  onAdd(map: LibreMap, gl: WebGL2RenderingContext): void {
    this.map = map;
    this.dots = new Dots(gl, this.places, this.rows);
    this.shown = null;
  }

  render(gl: WebGL2RenderingContext, { defaultProjectionData: data, shaderData }: CustomRenderMethodInput): void {
    if (!this.dots) return;
    if (this.shown?.[0] !== this.colours) this.dots.setColours(this.colours);
    if (this.shown?.[1] !== this.marks) this.dots.setMarks(this.marks);
    this.shown = [this.colours, this.marks];
    const zoom = this.map?.getZoom() ?? 1;
    const size = (this.rows > 200_000 ? 2.5 : this.rows > 5_000 ? 4 : 6) * Math.min(1.5, Math.max(1, zoom / 9)) * devicePixelRatio;
    this.dots.draw(shaderData.variantName, `${shaderData.vertexShaderPrelude}\n${shaderData.define}`, "projectTile(place)", size, this.dim, (program) => {
      const at = (name: string) => gl.getUniformLocation(program, name);
      gl.uniformMatrix4fv(at("u_projection_matrix"), false, Float32Array.from(data.mainMatrix));
      gl.uniformMatrix4fv(at("u_projection_fallback_matrix"), false, Float32Array.from(data.fallbackMatrix));
      gl.uniform4f(at("u_projection_tile_mercator_coords"), ...data.tileMercatorCoords);
      gl.uniform4f(at("u_projection_clipping_plane"), ...data.clippingPlane);
      gl.uniform1f(at("u_projection_transition"), data.projectionTransition);
    });
  }
}

/** The row whose point is drawn nearest to a position, within a few pixels. */
function nearest(map: LibreMap, points: Points, x: number, y: number): number | null {
  const [low, high] = [map.unproject([x - NEAR_PX, y + NEAR_PX]), map.unproject([x + NEAR_PX, y - NEAR_PX])];
  let [best, least]: [number | null, number] = [null, NEAR_PX];
  for (const row of rowsWithin(pairsOf(points), [low.lng, low.lat, high.lng, high.lat])) {
    const at = map.project([points.lon[row]!, points.lat[row]!]);
    const away = Math.hypot(at.x - x, at.y - y);
    if (away <= least) [best, least] = [row, away];
  }
  return best;
}

function picked(store: Store, what: Picked): void {
  store.set({ picked: what, pick: "look" });
}

/** Boxes and polygons drawn with the pointer: for a filter, or by the brush to select. */
function drawn(map: LibreMap, frame: HTMLElement, store: Store, brushes: () => boolean, select: (box: [number, number, number, number]) => void): void {
  const outline = h("div", { class: "outline", hidden: true });
  const canvas = map.getCanvasContainer();
  let start: [number, number] | null = null;
  let corners: [number, number][] = [];
  add(frame, outline);
  const boxes = () => store.get().pick === "box" || (store.get().pick === "look" && brushes());
  const at = (event: PointerEvent): [number, number] => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!boxes() || event.button !== 0) return;
    start = at(event);
    map.dragPan.disable();
    canvas.setPointerCapture(event.pointerId);
  }, true);
  canvas.addEventListener("pointermove", (event) => {
    if (start) lay(outline, start, at(event));
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!start) return;
    const [from, to] = [start, at(event)];
    start = null;
    outline.hidden = true;
    map.dragPan.enable();
    if (Math.abs(from[0] - to[0]) < 3 || Math.abs(from[1] - to[1]) < 3) return;
    const [one, other] = [map.unproject(from), map.unproject(to)];
    const box: [number, number, number, number] = [Math.min(one.lng, other.lng), Math.min(one.lat, other.lat), Math.max(one.lng, other.lng), Math.max(one.lat, other.lat)];
    if (store.get().pick === "box") picked(store, { box });
    else select(box);
  });
  map.on("click", ({ lngLat }) => {
    if (store.get().pick !== "polygon") {
      corners = [];
      return;
    }
    corners.push([turned(lngLat.lng), lngLat.lat]);
    store.set({ says: corners.length < 3 ? `corner ${corners.length}` : `corner ${corners.length}; double click ends the polygon` });
  });
  map.on("dblclick", (event) => {
    if (store.get().pick !== "polygon") return;
    event.preventDefault();
    const polygon = corners.filter((corner, number) => number === 0 || String(corner) !== String(corners[number - 1]));
    corners = [];
    if (polygon.length >= 3) picked(store, { polygon });
  });
}

/** Lays an outline between two corners. */
export function lay(outline: HTMLElement, [x0, y0]: [number, number], [x1, y1]: [number, number]): void {
  outline.hidden = false;
  outline.style.transform = `translate(${Math.min(x0, x1)}px, ${Math.min(y0, y1)}px)`;
  outline.style.width = `${Math.abs(x1 - x0)}px`;
  outline.style.height = `${Math.abs(y1 - y0)}px`;
}

/** How many points lie where many do, as labels over the map. */
class Clusters {
  private labels: { element: HTMLElement; lon: number; lat: number }[] = [];

  constructor(private readonly map: LibreMap, private readonly place: HTMLElement, private readonly points: Points) {}

  count(): void {
    const { map, points } = this;
    const world = 512 * 2 ** map.getZoom();
    const [bounds, cell] = [map.getBounds(), CLUSTER_PX / world];
    const cells = new Map<string, [number, number, number]>();
    for (let row = 0; row < points.rows; row += 1) {
      const [lon, lat] = [points.lon[row]!, points.lat[row]!];
      if (!(lat >= bounds.getSouth() && lat <= bounds.getNorth() && lon >= bounds.getWest() && lon <= bounds.getEast())) continue;
      const key = `${Math.floor((lon + 180) / 360 / cell)} ${Math.floor((lat + 90) / 360 / cell)}`;
      const found = cells.get(key);
      if (found) {
        found[0] += 1;
        found[1] += lon;
        found[2] += lat;
      } else cells.set(key, [1, lon, lat]);
    }
    const large = [...cells.values()].filter(([count]) => count >= LEAST_IN_CLUSTER).sort((a, b) => b[0] - a[0]).slice(0, MOST_CLUSTERS);
    this.labels = large.map(([count, lon, lat]) => ({ element: h("span", {}, short(count)), lon: lon / count, lat: lat / count }));
    this.place.replaceChildren(...this.labels.map((label) => label.element));
    this.move();
  }

  move(): void {
    for (const { element, lon, lat } of this.labels) {
      const { x, y } = this.map.project([lon, lat]);
      const back = this.map.unproject([x, y]);
      element.hidden = Math.abs(turned(back.lng - lon)) > 1 || Math.abs(back.lat - lat) > 1; // behind the globe
      element.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
    }
  }
}

const short = (count: number): string => (count < 1000 ? String(count) : count < 1e6 ? `${(count / 1e3).toPrecision(2).replace(/\.0$/, "")}k` : `${(count / 1e6).toPrecision(2)}M`);
