// Maps of sounds over the land: values come as tiles, colours, threshold and opacity are made here.

import type { Map as LibreMap } from "maplibre-gl";
import type { About, Band, Layer } from "./api";
import { colourOfClass, paintRamp, ramp, RAMPS } from "./colours";
import { add, fill, h, labelled } from "./dom";
import { addProtocol } from "./map";
import { mercator } from "./points";
import { swatch } from "./plane";
import type { ShownLayer, Store } from "./state";
import { numberText, placeText } from "./text";

const KEPT_TILES = 160;
const SIDE = 256;

interface Shown { layer: Layer; band: Band; ramp: string; opacity: number; from: number }

/** The layer as a link tells it, where it fits what there is. */
function shownAs(layer: Layer, told: ShownLayer | undefined): Shown {
  const band = layer.bands.find((each) => each.name === told?.band) ?? layer.bands[0]!;
  const usual = isDifference(band) ? "blue to red" : "viridis";
  return { layer, band, ramp: RAMPS.includes(told?.ramp ?? "") ? told!.ramp : usual, opacity: told?.opacity ?? (layer.classes ? 1 : 0.75), from: told?.from ?? 0 };
}

/** Whether a band is what one sound has more than another: below and above nothing are two colours. */
const isDifference = (band: Band): boolean => band.says.includes("difference");

/** The values that the ends of a ramp stand for. */
function endsOf(band: Band): [number, number] {
  const [low, high] = [band.min ?? 0, band.max ?? 0];
  const most = Math.max(Math.abs(low), Math.abs(high));
  return isDifference(band) ? [-most, most] : [low, high];
}

/** The band that the threshold looks at; a difference of percentiles is none. */
const percentileOf = (layer: Layer): Band | null => layer.bands.find((band) => band.name === "percentile" && !isDifference(band)) ?? null;

/** Values of tiles, NaN where there are none; those used last are kept. */
class Values {
  private readonly kept = new Map<string, Promise<Float32Array | null>>();

  of(layer: Layer, band: Band, tile: string): Promise<Float32Array | null> {
    const address = `api/layers/${encodeURIComponent(layer.name)}/${tile}.png?band=${encodeURIComponent(band.name)}`;
    const found = this.kept.get(address) ?? valuesOf(address, band);
    this.kept.delete(address);
    this.kept.set(address, found);
    found.catch(() => this.kept.delete(address));
    for (const name of this.kept.keys()) {
      if (this.kept.size <= KEPT_TILES) break;
      this.kept.delete(name);
    }
    return found;
  }
}

async function valuesOf(address: string, { scale, offset }: Band): Promise<Float32Array | null> {
  const answer = await fetch(address);
  if (answer.status === 204 || answer.status === 404) return null;
  if (!answer.ok) throw new Error(`a tile did not come (${answer.status})`);
  const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("the browser reads no pictures");
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
  const values = new Float32Array(pixels.length / 4);
  for (let at = 0; at < values.length; at += 1) {
    const number = (pixels[4 * at]! << 16) | (pixels[4 * at + 1]! << 8) | pixels[4 * at + 2]!;
    values[at] = pixels[4 * at + 3] ? number * scale + offset : Number.NaN;
  }
  return values;
}

/** Fills the panel of layers and keeps them on the map. */
export function mountLayers(place: HTMLElement, store: Store, about: About, map: LibreMap): void {
  if (!about.layers.length) return;
  place.hidden = false;
  const values = new Values();
  const shown = new Map<string, Shown>();
  let version = 0;
  addProtocol("values", async ({ url }) => {
    const [name = "", z = "", x = "", y = ""] = url.replace(/^values:\/\//, "").split("?")[0]!.split("/").map(decodeURIComponent);
    const found = shown.get(name);
    return { data: await painted(found ?? null, values, `${z}/${x}/${y}`) };
  });
  const paint = (name: string) => {
    version += 1;
    const source = map.getSource(`layer ${name}`);
    if (source && "setTiles" in source) (source as { setTiles: (tiles: string[]) => void }).setTiles([addressOf(name, version)]);
  };
  const tell = () => store.set({ layers: Object.fromEntries([...shown].map(([name, { band, ramp: colours, opacity, from }]) => [name, { band: band.name, ramp: colours, opacity, from }])) });
  const readings: (() => void)[] = [];
  const entries: { layer: Layer; hide: () => void }[] = [];
  // colours of classes are names: they must mix with no other layer's
  const alone = (layer: Layer) => {
    for (const entry of entries) if (entry.layer !== layer && (layer.classes || entry.layer.classes)) entry.hide();
  };
  add(place, h("details", { open: true }, h("summary", {}, h("h2", {}, "Layers")), ...about.layers.map((layer, number) => {
    const linked = store.get().layers[layer.name];
    const state = shownAs(layer, linked);
    const box = h("input", { type: "checkbox", id: `layer-${number}` });
    const rest = h("div", { class: "layer", hidden: true });
    const reading = h("p", { class: "fine", "aria-live": "polite" });
    const read = async () => {
      const { like } = store.get().query;
      const given = like.length === 1 && "place" in like[0]! ? like[0].place : null;
      reading.textContent = given && box.checked ? await valueAt(values, state, given) : "";
    };
    const show = (fit: boolean) => {
      rest.hidden = !box.checked;
      if (box.checked) {
        alone(layer);
        shown.set(layer.name, state);
        put(map, layer, state);
        map.resize(); // the settings below it took some of its place
        if (fit) map.fitBounds(layer.bounds, { padding: 30, duration: 0 });
      } else {
        shown.delete(layer.name);
        map.removeLayer(`layer ${layer.name}`);
        map.removeSource(`layer ${layer.name}`);
      }
      void read();
    };
    box.addEventListener("change", () => {
      show(true);
      tell();
      store.set({ says: `${layer.title} ${box.checked ? "shown" : "hidden"}` });
    });
    const change = (what: "band" | "colours" | "opacity") => {
      if (what === "opacity") map.setPaintProperty(`layer ${layer.name}`, "raster-opacity", state.opacity);
      else paint(layer.name);
      if (what === "band") void read();
      tell();
    };
    settings(rest, state, reading, change);
    readings.push(() => void read());
    entries.push({ layer, hide: () => {
      if (!box.checked) return;
      box.checked = false;
      show(false);
    } });
    if (linked) {
      box.checked = true;
      show(false);
    }
    return h("div", { class: "layer-entry" }, h("label", { for: box.id }, box, ` ${layer.title.slice(0, 120)}`), rest);
  })));
  tell();
  store.on((state, before) => {
    if (state.query.like !== before.query.like) for (const read of readings) read();
  });
}

/** What a layer has at a place that was asked for, in words; its finest tile is read. */
async function valueAt(values: Values, { layer, band }: Shown, [longitude, latitude]: [number, number]): Promise<string> {
  const side = 2 ** layer.maxzoom;
  const [x, y] = mercator(Float32Array.of(longitude), Float32Array.of(latitude));
  const [column, row] = [((x! % 1) + 1) * side % side, y! * side];
  const tile = `${layer.maxzoom}/${Math.floor(column)}/${Math.floor(row)}`;
  const at = Math.floor((row % 1) * SIDE) * SIDE + Math.floor((column % 1) * SIDE);
  const place = `At ${placeText(longitude, latitude)}`;
  try {
    const limits = percentileOf(layer);
    const [value, percentile] = await Promise.all([band, limits].map(async (each) => (each ? ((await values.of(layer, each, tile))?.[at] ?? Number.NaN) : Number.NaN)));
    if (value === undefined || Number.isNaN(value)) return `${place}: nothing on this layer`;
    if (layer.classes) return `${place}: ${layer.classes[Math.round(value) - 1] ?? "no class"}`;
    const beyond = band !== limits && percentile !== undefined && !Number.isNaN(percentile) ? `, percentile ${numberText(percentile)}` : "";
    return `${place}: ${band.title} ${numberText(value)}${beyond}`;
  } catch (error) {
    return `${place}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

const addressOf = (name: string, version: number): string => `values://${encodeURIComponent(name)}/{z}/{x}/{y}?${version}`;

function put(map: LibreMap, layer: Layer, state: Shown): void {
  const id = `layer ${layer.name}`;
  map.addSource(id, { type: "raster", tiles: [addressOf(layer.name, 0)], tileSize: SIDE, bounds: layer.bounds, minzoom: layer.minzoom, maxzoom: layer.maxzoom });
  map.addLayer({ id, type: "raster", source: id, paint: { "raster-opacity": state.opacity, "raster-fade-duration": 0, "raster-resampling": "nearest" } }, "shape-fill");
}

/** A tile in colours; where values are below the threshold, or none, it is clear. */
async function painted(state: Shown | null, values: Values, tile: string): Promise<ImageBitmap> {
  const pixels = new ImageData(SIDE, SIDE);
  if (state) {
    const { layer, band, from } = state;
    const limits = percentileOf(layer); // asked for with the rest, so that the threshold needs no server
    const [numbers, percentiles] = await Promise.all([values.of(layer, band, tile), limits ? values.of(layer, limits, tile) : null]);
    const steps = ramp(state.ramp);
    const [low, high] = endsOf(band);
    for (let at = 0; numbers && at < numbers.length; at += 1) {
      const value = numbers[at]!;
      const share = high > low ? (value - low) / (high - low) : 0.5;
      const above = from === 0 || (percentiles ? percentiles[at]! >= from : 100 * share >= from);
      if (Number.isNaN(value) || !above) continue;
      const step = Math.round(255 * Math.max(0, Math.min(1, share)));
      pixels.data.set(layer.classes ? colourOfClass(Math.round(value) - 1) : steps.subarray(3 * step, 3 * step + 3), 4 * at);
      pixels.data[4 * at + 3] = 255;
    }
  }
  return createImageBitmap(pixels);
}

function settings(place: HTMLElement, state: Shown, reading: HTMLElement, changed: (what: "band" | "colours" | "opacity") => void): void {
  const { layer } = state;
  const legend = h("div", { class: "legend", role: "group", "aria-label": "Legend" });
  const key = () => {
    if (layer.classes) return fill(legend, ...layer.classes.map((name, code) => h("span", {}, swatch(colourOfClass(code)), name.slice(0, 60))));
    const canvas = h("canvas", { width: 200, height: 12, "aria-hidden": "true" });
    paintRamp(canvas, state.ramp);
    const { band } = state;
    const [low, high] = endsOf(band);
    const none = band.min === null || (band.min === 0 && band.max === 0);
    const ends = none ? [h("span", {}, "no values, or nothing but 0")] : [h("span", {}, numberText(low)), canvas, h("span", {}, numberText(high))];
    fill(legend, ...ends, h("p", { class: "fine" }, `${band.title}: ${band.says}`));
  };
  const choice = (label: string, what: "band" | "colours", options: [string, string][], now: string, change: (value: string) => void) => {
    const field = h("select", {}, ...options.map(([value, text]) => h("option", { value }, text)));
    field.value = now;
    field.addEventListener("change", () => { change(field.value); key(); changed(what); });
    return labelled(label, field);
  };
  const slider = (label: string, max: number, step: number, value: number, change: (value: number) => void) => {
    const field = h("input", { type: "range", min: 0, max, step, value });
    field.addEventListener("input", () => change(Number(field.value)));
    return labelled(label, field);
  };
  const threshold = layer.classes ? null
    : slider(percentileOf(layer) ? "From percentile" : "From, per cent of the range", 100, 1, state.from, (value) => { state.from = value; changed("colours"); });
  add(place,
    h("div", { class: "row" },
      choice("Band", "band", layer.bands.map((band) => [band.name, band.title]), state.band.name, (name) => { state.band = layer.bands.find((band) => band.name === name) ?? state.band; }),
      layer.classes ? null : choice("Colours", "colours", RAMPS.map((name) => [name, name]), state.ramp, (name) => { state.ramp = name; })),
    h("div", { class: "row" },
      slider("Opacity", 1, 0.05, state.opacity, (value) => { state.opacity = value; changed("opacity"); }),
      threshold),
    legend, reading, layer.notes?.length ? h("details", {}, h("summary", {}, "How to read it"), ...layer.notes.map((note) => h("p", { class: "note" }, note))) : null,
    h("p", { class: "fine" }, `${layer.synthetic ? "Synthetic. " : ""}${layer.attribution}`),
    layer.files?.length ? h("p", { class: "fine" }, "Files: ", ...layer.files.flatMap((file) => [h("a", { href: `api/layers/${encodeURIComponent(layer.name)}/files/${encodeURIComponent(file)}`, download: "" }, file), " "])) : null);
  key();
}
