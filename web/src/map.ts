// The map: land, points, layers below them; a click asks what is there, what is brushed is selected.

import { addProtocol, type CustomRenderMethodInput, LngLat, Map as LibreMap, MercatorCoordinate, NavigationControl, ScaleControl, setWorkerUrl } from "maplibre-gl";
import workerUrl from "maplibre-gl/dist/maplibre-gl-worker.mjs?url";
import "maplibre-gl/dist/maplibre-gl.css";
import type { About } from "./api";
import { brushButtons, mountBrush, type Spot } from "./brush";
import { Clusters } from "./clusters";
import { add, h } from "./dom";
import { Dots } from "./dots";
import { addLand, setTheme, styleOf } from "./land";
import { boxAround, isBehind, isGlobe, rowsAt, rowsUnder } from "./picking";
import { mercator, type Points, rowsInside, turned, widthAround } from "./points";
import { mountShapes } from "./shapes";
import { plainRing, type View } from "./share";
import { emptyQuery, type Outline, type Seek, type Store } from "./state";

const SETTLED_MS = 1500;
const MOST_LATITUDE = 85.05;
const GOES_MS = 400;
const PLACE_ZOOM = 9; // of a place that is gone to
const LEAST_WORLD = 0.9; // of the window's smaller side

export interface MapPart { map: LibreMap; view: () => View; setColours: (colours: Uint8Array) => void; setMarks: (marks: Uint8Array, some: boolean) => void; setTheme: () => void }

/** Fills the region of the map; resolves once it is drawn. */
export async function mountMap(place: HTMLElement, store: Store, points: Points, about: About, view: View | null): Promise<MapPart> {
  setWorkerUrl(new URL(workerUrl, location.href).href);
  const frame = h("div", { class: "view" });
  const clusters = h("div", { class: "clusters", "aria-hidden": "true" });
  const brush = brushButtons();
  const starts = view?.globe ?? crosses(about);
  const globe = h("button", { type: "button", "aria-pressed": String(starts) }, "Globe");
  const visible = h("button", { type: "button", title: "Select the points that the map shows" }, "Select view");
  const seen = h("button", { type: "button", "aria-pressed": "true", title: "Show points, or only what lies below them" }, "Points");
  const centre = h("button", { type: "button", title: "What is likely heard at the middle of the map" }, "Ask here");
  const whole = h("button", { type: "button", title: "Show all that has a place" }, "All data");
  add(place, h("div", { class: "bar", role: "group", "aria-label": "Map tools" }, ...brush.buttons, visible, seen, globe, centre, whole), frame);
  const map = new LibreMap({
    container: frame, style: { ...styleOf(about), projection: { type: starts ? "globe" : "mercator" } }, attributionControl: false, renderWorldCopies: false,
    fadeDuration: 0, maxZoom: 19, canvasContextAttributes: { antialias: false }, locale: { "Map.Title": "Map; arrows move it, plus and minus zoom" },
    transformConstrain: (at, zoom) => constrained(frame, at, zoom),
    ...(view ? { center: [view.at[0], view.at[1]], zoom: view.at[2], bearing: view.turn[0], pitch: view.turn[1] } : { center: [0, 20], zoom: 1 }),
  });
  map.on("error", ({ error }) => {
    console.error(error);
    const says = `a part of the map did not come: ${error.message.slice(0, 200)}`;
    if (store.get().says !== says) store.set({ says });
  });
  const home = () => goHome(map, about);
  if (!view) home();
  map.addControl(new NavigationControl({ visualizePitch: true }), "top-right");
  map.addControl(new ScaleControl({}), "bottom-left");
  add(frame, clusters);
  await new Promise((done) => void map.once("load", done));
  await addLand(map);
  const places = mercator(points.lon, points.lat);
  const layer = new PointLayer(places, points);
  mountShapes(map, store);
  map.addLayer(layer, "shape-rim");
  const counted = new Clusters(map, clusters, places);
  await settled(map);

  globe.addEventListener("click", () => {
    const on = globe.getAttribute("aria-pressed") !== "true";
    globe.setAttribute("aria-pressed", String(on));
    map.setProjection({ type: on ? "globe" : "mercator" });
    map.once("idle", () => counted.count());
    store.set({ says: on ? "the map is a globe" : "the map is flat" });
    map.fire("moveend"); // the link tells it
  });
  seen.addEventListener("click", () => {
    const on = seen.getAttribute("aria-pressed") !== "true";
    seen.setAttribute("aria-pressed", String(on));
    map.setLayoutProperty("points", "visibility", on ? "visible" : "none");
    clusters.hidden = !on;
    store.set({ says: on ? "points shown" : "points hidden" });
  });
  whole.addEventListener("click", home);
  const ask = (longitude: number, latitude: number) => store.set({ query: { ...emptyQuery(), k: store.get().query.k, filters: store.get().query.filters, like: [{ place: [longitude, latitude] }] }, says: "asking what is likely heard there" });
  centre.addEventListener("click", () => ask(turned(map.getCenter().lng), map.getCenter().lat));
  const select = (outline: Spot[]) => {
    const drawn = isGlobe(map) ? null : outlineOf(map, outline); // sides drawn on the globe are bent: rows alone can be told
    const selected = drawn ? rowsWithin(places, drawn) : rowsUnder(map, points, places, outline);
    store.set({ selected, outline: drawn, says: `${selected.length.toLocaleString("en")} selected` });
  };
  visible.addEventListener("click", () => select([[0, 0], [frame.clientWidth, 0], [frame.clientWidth, frame.clientHeight], [0, frame.clientHeight]]));
  map.on("click", ({ point, lngLat }) => {
    const { pick } = store.get();
    if (pick === "place") store.set({ picked: { place: [turned(lngLat.lng), lngLat.lat] }, pick: "look" });
    if (pick !== "look" || brush.shape()) return;
    const here = clusters.hidden ? [] : rowsAt(map, points, places, [point.x, point.y]);
    const picture = here.find((row) => points.modality[row] === 0);
    store.set({ here: here.length > 1 ? here : [] });
    if (here.length && picture === undefined) store.set({ row: here[0]! });
    else if (picture === undefined) ask(turned(lngLat.lng), lngLat.lat);
    else ask(points.lon[picture]!, points.lat[picture]!);
  });
  store.on(({ seek }, before) => {
    if (seek && seek !== before.seek) goTo(map, points, seek);
  });
  const asked = () => (store.get().pick === "box" ? "box" : store.get().pick === "look" ? brush.shape() : null);
  mountBrush(frame, map.getCanvasContainer(), asked, (outline) => {
    if (store.get().pick === "box") store.set({ picked: { box: boxAround(map, outline) }, pick: "look" });
    else select(outline);
  }, (on) => (on ? map.dragPan.disable() : map.dragPan.enable()));
  return {
    map,
    view: () => ({ at: [map.getCenter().lng, map.getCenter().lat, map.getZoom()], turn: [map.getBearing(), map.getPitch()], globe: isGlobe(map) }),
    setColours: (colours) => { layer.colours = colours; map.triggerRepaint(); },
    setMarks: (marks, some) => { layer.marks = marks; layer.dim = some ? 0.15 : 0.85; map.triggerRepaint(); },
    setTheme: () => setTheme(map),
  };
}

export { addProtocol };

/** An outline in pixels as (longitude, latitude), rounded as a link tells it. */
function outlineOf(map: LibreMap, outline: Spot[]): Outline {
  return { on: "map", ring: plainRing(outline.map((spot) => {
    const { lng, lat } = map.unproject(spot);
    return [lng, lat];
  })) };
}

/** The rows within an outline of (longitude, latitude); `places` are theirs on the Mercator square. */
export const rowsWithin = (places: Float64Array, { ring }: Outline): Uint32Array =>
  rowsInside(places, ring.map(([lng, lat]) => {
    const { x, y } = MercatorCoordinate.fromLngLat([lng, lat]);
    return [x, y];
  }));

/** Goes to where a place and rows are seen; rows that are seen already move nothing. */
function goTo(map: LibreMap, points: Points, { place, onMap, always }: Seek): void {
  const { clientWidth: wide, clientHeight: high } = map.getContainer();
  const spots = onMap.map((row): Spot => [points.lon[row]!, points.lat[row]!]).filter(([lon, lat]) => Number.isFinite(lon) && Number.isFinite(lat));
  const isSeen = (spot: Spot) => {
    const { x, y } = map.project(spot);
    return x >= 0 && y >= 0 && x <= wide && y <= high && !isBehind(map, ...spot);
  };
  if (place) spots.push(place);
  if (!spots.length || (!place && !always && spots.every(isSeen))) return;
  const [west, east] = widthAround(spots.map(([lon]) => lon));
  const north = spots.map(([, lat]) => lat);
  const flat = !isGlobe(map);
  const around = flat && east > 180; // the flat map ends there
  map.fitBounds([around ? -180 : west, Math.min(...north), around ? 180 : east, Math.max(...north)], { padding: 40, maxZoom: Math.max(PLACE_ZOOM, place ? map.getZoom() : 0), duration: GOES_MS });
}

/** Until all is drawn that is on its way, but not for ever: tiles of others may be slow. */
const settled = (map: LibreMap): Promise<unknown> => Promise.race([new Promise((done) => void map.once("idle", done)), new Promise((done) => setTimeout(done, SETTLED_MS))]);

/** Whether the data lie on both sides of the antimeridian, where the flat map ends. */
const crosses = ({ bounds }: About): boolean => bounds !== null && bounds[2] > 180 && bounds[2] - bounds[0] <= 180;

function goHome(map: LibreMap, about: About): void {
  if (!about.bounds) return;
  const [west, south, east, north] = about.bounds;
  const around = east > 180 && !crosses(about); // nearly round the globe: all of the flat map
  map.fitBounds([around ? -180 : west, south, around ? 180 : east, north], { padding: 30, maxZoom: 12, duration: 0 });
}

/** Keeps the middle on the map, and the world no smaller than the window. */
function constrained(frame: HTMLElement, at: LngLat, zoom: number): { center: LngLat; zoom: number } {
  const least = Math.log2((LEAST_WORLD * Math.max(100, Math.min(frame.clientWidth, frame.clientHeight))) / 512);
  const lng = Math.abs(at.lng) > 180 ? turned(at.lng) : at.lng;
  return { center: new LngLat(lng, Math.max(-MOST_LATITUDE, Math.min(MOST_LATITUDE, at.lat))), zoom: Math.max(zoom, least) };
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

  constructor(private readonly places: Float64Array, private readonly points: Points) {
    this.colours = new Uint8Array(3 * points.rows).fill(90);
    this.marks = new Uint8Array(points.rows);
  }

  onAdd(map: LibreMap, gl: WebGL2RenderingContext): void {
    this.map = map;
    this.dots = new Dots(gl, this.places, this.points.modality);
    this.shown = null;
  }

  /** Draws points by their distance from the middle of the map: far from 0, float32 alone is off by metres. */
  render(gl: WebGL2RenderingContext, { defaultProjectionData: data, shaderData }: CustomRenderMethodInput): void {
    if (!this.dots || !this.map) return;
    if (this.shown?.[0] !== this.colours) this.dots.setColours(this.colours);
    if (this.shown?.[1] !== this.marks) this.dots.setMarks(this.marks);
    this.shown = [this.colours, this.marks];
    const { rows } = this.points;
    const size = (rows > 200_000 ? 2.5 : rows > 5_000 ? 4 : 6) * Math.min(1.5, Math.max(1, this.map.getZoom() / 9)) * devicePixelRatio;
    const { x, y } = MercatorCoordinate.fromLngLat(this.map.getCenter());
    const [x0, y0] = [Math.fround(x), Math.fround(y)];
    const before = `${shaderData.vertexShaderPrelude}\n${shaderData.define}\nuniform vec4 middle;`;
    const flat = data.mainMatrix === data.fallbackMatrix; // otherwise it is a globe's
    this.dots.draw(shaderData.variantName, before, "projectTile((place - middle.xy) + (rest - middle.zw))", size, this.dim, (program) => {
      const at = (name: string) => gl.getUniformLocation(program, name);
      gl.uniform4f(at("middle"), x0, y0, x - x0, y - y0);
      gl.uniformMatrix4fv(at("u_projection_matrix"), false, flat ? moved(data.mainMatrix, x, y) : Float32Array.from(data.mainMatrix));
      gl.uniformMatrix4fv(at("u_projection_fallback_matrix"), false, moved(data.fallbackMatrix, x, y));
      gl.uniform4f(at("u_projection_tile_mercator_coords"), x, y, 1, 1);
      gl.uniform4f(at("u_projection_clipping_plane"), ...data.clippingPlane);
      gl.uniform1f(at("u_projection_transition"), data.projectionTransition);
    });
  }
}

/** A matrix (4 x 4, by columns) of what is told from (x, y) on; reckoned in float64. */
function moved(matrix: ArrayLike<number>, x: number, y: number): Float32Array {
  const found = Float32Array.from(matrix);
  for (let row = 0; row < 4; row += 1) found[12 + row] = matrix[row]! * x + matrix[4 + row]! * y + matrix[12 + row]!;
  return found;
}
