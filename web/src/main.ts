// The page from its beginning: what is served, the points, map and plane, then the panels beside them.

import { type About, getJson, type Item } from "./api";
import { add, h, labelled } from "./dom";
import { HIT, hasWebGl, OPEN, SELECTED } from "./dots";
import { mountLayers } from "./layers";
import { type MapPart, mountMap } from "./map";
import { mountPanels } from "./panels";
import { coloursOf, mountPlane, showKey } from "./plane";
import { Points } from "./points";
import { mountSelection, nameOf } from "./selection";
import { layersFromText, layersToText, queryFromText, queryToText, type View, viewFromText, viewToText } from "./share";
import { type State, Store } from "./state";
import "./style.css";

const store = new Store();
const at = (id: string): HTMLElement => document.getElementById(id)!;
const LIST_STEP = 25;
const THEME = "earthtone.theme";

async function start(): Promise<void> {
  theme();
  store.on((state, before) => {
    if (state.says !== before.says) at("says").textContent = state.says;
  });
  const about = await getJson<About>("api/about");
  const link = new URLSearchParams(location.hash.slice(1));
  const [query, other, row] = [queryFromText(link.get("q") ?? ""), link.get("c") ? queryFromText(link.get("c")!) : null, link.get("row")];
  const open = row !== null && /^\d+$/.test(row) && Number(row) < about.rows ? Number(row) : null;
  store.set({ about, ...(query ? { query } : {}), other, row: open, colour: link.get("colour"), layers: layersFromText(link.get("layers") ?? "") });
  head(about);
  mountPanels({ search: at("search"), filters: at("filters"), hits: at("hits"), item: at("item"), tools: at("tools") }, store);
  mountSelection(at("selection"), store);
  const map = await seen(about, viewFromText(link.get("at") ?? ""));
  jumps();
  const keep = () => history.replaceState(null, "", hashOf(store.get(), map));
  store.on((state, before) => {
    if (state.query !== before.query || state.other !== before.other || state.row !== before.row || state.colour !== before.colour || state.layers !== before.layers) keep();
  });
  map?.map.on("moveend", keep);
  window.addEventListener("hashchange", () => location.reload());
  if (!query) store.set({ says: "the link's query is damaged; search anew" });
  performance.mark("ready");
  document.documentElement.dataset.ready = "";
}

/** Draws what can be drawn: map and plane, one of them, or a list. */
async function seen(about: About, view: View | null): Promise<MapPart | null> {
  if (!hasWebGl()) {
    await list(about);
    at("plane").hidden = true;
    document.body.classList.add("no-plane");
    return null;
  }
  const points = await Points.load();
  const plane = mountPlane(at("plane"), store, points, about);
  if (!about.coordinates) {
    at("left").hidden = true;
    document.body.classList.add("no-map");
  }
  const map = about.coordinates ? await mountMap(at("map"), store, points, about, view) : null;
  if (map) mountLayers(at("layers"), store, about, map.map);
  const key = h("div", { class: "key", role: "group", "aria-label": "Colours of points" });
  add(at("plane"), key);
  const colour = async () => {
    const asked = store.get();
    try {
      const found = await coloursOf(store, points, about);
      if (asked.colour !== store.get().colour || asked.scores !== store.get().scores) return; // another choice came meanwhile
      plane?.setColours(found.colours);
      map?.setColours(found.colours);
      showKey(key, found);
    } catch (error) {
      store.set({ says: error instanceof Error ? error.message : String(error) });
    }
  };
  const mark = () => {
    const { selected, hits, row } = store.get();
    const marks = new Uint8Array(points.rows);
    for (const each of selected ?? []) marks[each] = SELECTED;
    for (const each of hits) marks[each] = HIT;
    if (row !== null) marks[row] = OPEN;
    const some = selected !== null;
    plane?.setMarks(marks, some);
    map?.setMarks(marks, some);
  };
  store.on((state, before) => {
    if (state.colour !== before.colour || state.scores !== before.scores) void colour();
    if (state.selected !== before.selected || state.hits !== before.hits || state.row !== before.row) mark();
  });
  document.addEventListener("theme", () => map?.setTheme());
  mark();
  await colour();
  return map;
}

/** A list in place of the map, for browsers that cannot draw it. */
async function list(about: About): Promise<void> {
  const rows = h("ol", { class: "plain-list", "aria-label": "Items" });
  let shown = 0;
  const more = async () => {
    const next = Array.from({ length: Math.min(LIST_STEP, about.rows - shown) }, (_, step) => shown + step);
    const items = await Promise.all(next.map((row) => getJson<Item>(`api/items/${row}`)));
    shown += next.length;
    add(rows, ...items.map((item) => h("li", {}, h("button", { type: "button", onclick: () => store.set({ row: item.row }) }, nameOf(item)))));
    button.hidden = shown >= about.rows;
  };
  const button = h("button", { type: "button", onclick: () => void more().catch((error: unknown) => store.set({ says: error instanceof Error ? error.message : String(error) })) }, "More");
  add(at("map"), h("p", { class: "note" }, "Map and plane need WebGL 2, which this browser lacks or has turned off. Search and this list work."), rows, button);
  await more();
}

function head(about: About): void {
  document.title = `${about.title.slice(0, 100)} – Earthtone`;
  at("title").textContent = about.title.slice(0, 100);
  at("synthetic").hidden = !about.synthetic;
  at("synthetic").textContent = "Synthetic data: nothing here is a real place or sound";
  if (about.model?.card) add(at("tools"), h("a", { href: about.model.card, target: "_blank", rel: "noopener" }, "Model card"));
  const kinds = `${(about.items.image ?? 0).toLocaleString("en")} pictures, ${(about.items.audio ?? 0).toLocaleString("en")} sounds`;
  add(at("credits"), h("span", {}, `${kinds}. `), about.coordinates ? h("span", {}, `Map: ${about.basemap.attribution}. `) : null, about.model ? null : h("span", {}, "No model: stored vectors alone are searched. "),
    h("a", { href: "LICENSES.txt" }, "Licences of this page"));
}

/** On narrow screens, where the parts stand below each other: the way to each of them. */
function jumps(): void {
  const to = (name: string, id: string) => h("button", { type: "button", onclick: () => at(id).scrollIntoView({ block: "start" }) }, name);
  const hits = h("button", { type: "button", onclick: () => at(at("item").hidden ? "hits" : "item").scrollIntoView({ block: "start" }) }, "Hits");
  const map = at("left").hidden ? null : to(at("map").querySelector("canvas") ? "Map" : "Items", "map");
  add(at("jumps"), map, at("plane").hidden ? null : to("Plane", "plane"), to("Search", "search"), hits);
  store.on((state, before) => {
    if (state.answer !== before.answer) hits.textContent = state.answer ? `Hits (${state.answer.hits.length})` : "Hits";
  });
}

function theme(): void {
  const field = h("select", {}, ...["as the system", "light", "dark"].map((name) => h("option", { value: name }, name)));
  const set = (name: string) => {
    if (name === "light" || name === "dark") document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    document.dispatchEvent(new Event("theme"));
  };
  try {
    field.value = localStorage.getItem(THEME) ?? "as the system";
  } catch {
    // nothing is kept by this browser
  }
  if (!field.value) field.value = "as the system";
  set(field.value);
  field.addEventListener("change", () => {
    set(field.value);
    try {
      localStorage.setItem(THEME, field.value);
    } catch {
      // it holds until the page is closed
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
  add(at("tools"), labelled("Theme", field));
}

function hashOf(state: State, map: MapPart | null): string {
  const told = new URLSearchParams();
  if (map) told.set("at", viewToText(map.view()));
  const [query, other] = [queryToText(state.query), state.other ? queryToText(state.other) : ""];
  if (query) told.set("q", query);
  if (other) told.set("c", other);
  if (state.row !== null) told.set("row", String(state.row));
  if (state.colour !== null) told.set("colour", state.colour);
  const layers = layersToText(state.layers);
  if (layers) told.set("layers", layers);
  return `#${told}`;
}

start().catch((error: unknown) => {
  add(document.body, h("p", { role: "alert", class: "wrong" }, error instanceof Error ? error.message : String(error)));
  document.documentElement.dataset.ready = "";
});
