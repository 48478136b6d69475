// The page from its beginning: what is served, the points, map and plane, then the panels beside them.

import { type About, getJson, type Item } from "./api";
import { asks, foundText } from "./asking";
import { add, h, labelled } from "./dom";
import { HIT, hasWebGl, OPEN, SELECTED } from "./dots";
import { mountLayers } from "./layers";
import { type MapPart, mountMap, rowsWithin } from "./map";
import { mountPanels } from "./panels";
import { coloursOf, mountPlane, type PlanePart, showKey } from "./plane";
import { mercator, pairs, Points, rowsInside } from "./points";
import { mountSelection, nameOf } from "./selection";
import { type Link, linkFrom, linkTo } from "./share";
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
  const { link, wrong } = linkFrom(location.hash.slice(1), about);
  store.set({
    about, ...(link.query ? { query: link.query } : {}), other: link.other, row: link.row, colour: link.colour, layers: link.layers,
    linked: link.query !== null && asks(link.query) && (link.view !== null || link.row !== null),
  });
  tellBroken(wrong);
  head(about);
  mountPanels({ search: at("search"), filters: at("filters"), hits: at("hits"), item: at("item"), tools: at("tools") }, store);
  mountSelection(at("selection"), store);
  const { map, plane } = await seen(about, link);
  jumps();
  const keep = () => history.replaceState(null, "", `#${linkTo(store.get(), map?.view() ?? null, plane?.view() ?? null)}`);
  const told: (keyof State)[] = ["query", "other", "row", "colour", "layers", "selected"];
  store.on((state, before) => {
    if (told.some((name) => state[name] !== before[name])) keep();
  });
  map?.map.on("moveend", keep);
  plane?.onMoved(keep);
  window.addEventListener("hashchange", () => location.reload());
  performance.mark("ready");
  document.documentElement.dataset.ready = "";
}

/** Draws what can be drawn: map and plane, one of them, or a list. */
async function seen(about: About, link: Link): Promise<{ map: MapPart | null; plane: PlanePart | null }> {
  if (!hasWebGl()) {
    await list(about);
    at("plane").hidden = true;
    document.body.classList.add("no-plane");
    return { map: null, plane: null };
  }
  const points = await Points.load();
  const plane = mountPlane(at("plane"), store, points, about, link.plane);
  if (!about.coordinates) {
    at("left").hidden = true;
    document.body.classList.add("no-map");
  }
  const map = about.coordinates ? await mountMap(at("map"), store, points, about, link.view) : null;
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
  if (link.selection) {
    const { outline } = link.selection;
    const within = outline === null ? null : outline.on === "plane" ? rowsInside(pairs(points.x, points.y), outline.ring) : rowsWithin(mercator(points.lon, points.lat), outline);
    store.set({ selected: within ?? link.selection.selected, outline });
  }
  await colour();
  return { map, plane };
}

/** Tells in words what of a link could not be read; all else of it is shown. */
function tellBroken(wrong: string[]): void {
  const place = at("broken");
  place.hidden = !wrong.length;
  if (!wrong.length) return;
  const close = h("button", { type: "button", "aria-label": "Close this message", onclick: () => { place.hidden = true; } }, "×");
  add(place, h("div", {}, h("strong", {}, "This link could not be read wholly. "), ...wrong.map((sentence) => `${sentence} `)), close);
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

/** On narrow screens, where the parts stand below each other: the way to each of them, and to what was just found. */
function jumps(): void {
  const go = (id: string) => at(id).scrollIntoView({ block: "start" });
  const to = (name: string, id: string) => h("button", { type: "button", onclick: () => go(id) }, name);
  const hits = h("button", { type: "button", onclick: () => go(at("item").hidden ? "hits" : "item") }, "Hits");
  const map = at("left").hidden ? null : to(at("map").querySelector("canvas") ? "Map" : "Items", "map");
  const found = h("button", { type: "button", class: "found", hidden: true, onclick: () => {
    found.hidden = true;
    go("hits");
    at("hits").querySelector("h2")?.focus({ preventScroll: true });
  } });
  add(at("jumps"), found, map, at("plane").hidden ? null : to("Plane", "plane"), to("Search", "search"), hits);
  const isSeen = () => at("hits").getBoundingClientRect().top < innerHeight * 0.7 && at("hits").getBoundingClientRect().bottom > 0;
  store.on((state, before) => {
    if (state.answer === before.answer && state.refused === before.refused) return;
    hits.textContent = state.answer ? `Hits (${state.answer.hits.length})` : "Hits";
    const says = state.refused ? "Nothing found: see why" : state.answer ? foundText(state.answer) : "";
    found.textContent = says ? says[0]!.toUpperCase() + says.slice(1) : "";
    found.hidden = !says || isSeen();
  });
  document.addEventListener("scroll", () => {
    if (!found.hidden && isSeen()) found.hidden = true;
  }, { passive: true });
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

start().catch((error: unknown) => {
  add(document.body, h("p", { role: "alert", class: "wrong" }, error instanceof Error ? error.message : String(error)));
  document.documentElement.dataset.ready = "";
});
