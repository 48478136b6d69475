// Which items are searched: where, when, under which licence, by any column. All that is said must hold.

import { type Column, type Filters, type Passing, postJson } from "./api";
import { add, complain, fill, h, labelled } from "./dom";
import type { State, Store } from "./state";
import { readBox, readPolygon } from "./text";

const MOST_VALUES = 200;
const TYPED_MS = 300;
const OWN = new Set(["modality", "datetime", "source", "license", "seconds"]);

interface Fields {
  box: HTMLInputElement; polygon: HTMLInputElement; hours: HTMLInputElement; solar: HTMLInputElement; months: HTMLInputElement;
  season: HTMLSelectElement; dates: HTMLInputElement; source: HTMLElement; license: HTMLElement;
}

/** Fills the region of the filters. */
export function mountFilters(place: HTMLElement, store: Store): void {
  const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
  const kept = h("p", { class: "passing", "aria-live": "polite" });
  const columns = h("div", { class: "columns-filters" });
  const text = (hint: string) => h("input", { type: "text", autocomplete: "off", placeholder: hint });
  const season = h("select", {}, ...["", "spring", "summer", "autumn", "winter"].map((name) => h("option", { value: name }, name || "any")));
  const fields: Fields = {
    box: text("west, south, east, north"), polygon: text("lon lat, lon lat, lon lat"), hours: text("4-9 or 22-4"),
    solar: h("input", { type: "checkbox" }), months: text("4-6 or nov-feb"), season, dates: text("2020 or 2020-03..2021-06"),
    source: valuesField(store.get(), "source", "Source"), license: valuesField(store.get(), "license", "License"),
  };
  const own = h("div", { class: "own-values" });
  const draw = (what: "box" | "polygon") => h("button", { type: "button", class: "draw", "aria-pressed": "false", "data-draw": what,
    onclick: () => store.set({ pick: store.get().pick === what ? "look" : what, says: store.get().pick === what ? "drawing ended" : `draw a ${what} on the map` }) },
  `Draw ${what}`);
  const form = h("form", { class: "filter-form", novalidate: true },
    h("div", { class: "row" }, labelled("Box", fields.box), draw("box")),
    h("div", { class: "row" }, labelled("Polygon", fields.polygon), draw("polygon")),
    h("div", { class: "row" }, labelled("Hours", fields.hours), h("label", {}, fields.solar, " by the sun")),
    h("div", { class: "row" }, labelled("Months", fields.months), labelled("Season", season)),
    labelled("Dates", fields.dates), own, columns,
    h("div", { class: "row" }, h("button", { type: "submit", class: "main" }, "Apply"),
      h("button", { type: "button", onclick: () => apply({}) }, "Clear filters")));

  const apply = (filters: Filters) => {
    store.set({ query: { ...store.get().query, filters }, says: Object.keys(filters).length ? "filters applied" : "filters cleared" });
  };
  const fieldOf = (name: string, sentence: string): HTMLElement | null => {
    if (name === "box" || name === "polygon" || name === "months" || name === "season" || name === "dates") return fields[name];
    if (name === "hours" || name === "hours_solar") return fields.hours;
    if (name === "source" || name === "license") return fields[name].querySelector<HTMLElement>("input, select");
    const inputs = [...columns.querySelectorAll<HTMLInputElement>("input")];
    return inputs.find(({ dataset, value }) => dataset.number === name || (name === "compare" && value && sentence.includes(dataset.number ?? ""))) ?? null;
  };
  /** Tells each complaint at its field; whether there is none. */
  const complainOf = (said: Record<string, string>): boolean => {
    wrong.hidden = true;
    for (const field of form.querySelectorAll<HTMLElement>("[aria-invalid]")) complain(field, null);
    for (const [name, sentence] of Object.entries(said)) {
      const field = fieldOf(name, sentence);
      if (field) complain(field, sentence);
      else [wrong.textContent, wrong.hidden] = [sentence, false];
    }
    return !Object.keys(said).length;
  };
  let latest = 0;
  /** Checks what is typed, here and by the server, and tells how many rows pass; returns the filters where all are right. */
  const check = async (): Promise<Filters | null> => {
    const now = (latest += 1);
    const { filters, wrong: said } = filtersOf(fields, columns);
    if (!complainOf(said)) {
      kept.textContent = "";
      return null;
    }
    if (!Object.keys(filters).length) {
      kept.textContent = "";
      return filters;
    }
    const told = await postJson<Passing>("api/passing", filters);
    if (now !== latest) return null;
    kept.textContent = passingText(told);
    return complainOf(told.wrong) ? filters : null;
  };
  const failed = (error: unknown) => {
    [wrong.textContent, wrong.hidden] = [error instanceof Error ? error.message : String(error), false];
  };
  let waiting: ReturnType<typeof setTimeout> | undefined;
  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => void check().catch(failed), TYPED_MS);
  };
  form.addEventListener("change", soon);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    void check().then((filters) => {
      if (filters) apply(filters);
      else form.querySelector<HTMLElement>("[aria-invalid]")?.focus();
    }, failed);
  });
  const count = h("span", { class: "count" });
  add(place, h("details", {}, h("summary", {}, h("h2", {}, "Filters"), count), form, wrong, kept));

  const show = (state: State) => {
    write(fields, columns, state.query.filters);
    const said = Object.keys(state.query.filters).length;
    count.textContent = said ? ` ${said} set` : "";
    void check().catch(failed);
  };
  const rebuild = (state: State) => {
    fields.source = valuesField(state, "source", "Source");
    fields.license = valuesField(state, "license", "License");
    fill(own, fields.source, fields.license);
    fill(columns, ...(state.about?.columns ?? []).filter((column) => !OWN.has(column.name)).map(columnField));
    for (const button of form.querySelectorAll<HTMLButtonElement>("[data-draw]")) button.disabled = state.about?.coordinates === false;
    show(state);
  };
  store.on((state, before) => {
    if (state.about !== before.about) rebuild(state);
    if (state.query.filters !== before.query.filters) show(state);
    if (state.pick !== before.pick) {
      for (const button of form.querySelectorAll<HTMLElement>("[data-draw]")) button.setAttribute("aria-pressed", String(button.dataset.draw === state.pick));
    }
    if (state.picked !== before.picked && state.picked && !("place" in state.picked)) {
      const { box: _, polygon: __, ...rest } = state.query.filters;
      store.set({ picked: null });
      apply({ ...rest, ...state.picked });
    }
  });
  rebuild(store.get());
}

/** Values of a column to choose from: a list of few, a field for many. */
function valuesField(state: State, name: string, label: string): HTMLElement {
  const values = state.about?.columns.find((column) => column.name === name)?.values ?? [];
  return values.length && values.length <= MOST_VALUES ? listField(label, name, values) : labelled(label, h("input", { type: "text", "data-column": name, placeholder: "one or more; CC-BY-4* for any ending" }));
}

function listField(label: string, name: string, values: string[]): HTMLElement {
  const field = h("select", { multiple: true, size: Math.max(2, Math.min(4, values.length)), "data-column": name }, ...values.map((value) => h("option", { value }, value.slice(0, 80))));
  return labelled(label, field);
}

function columnField(column: Column): HTMLElement {
  if (column.kind === "category" && column.values?.length) return listField(column.name, column.name, column.values);
  const ends = column.min == null || column.max == null ? "" : `${+column.min.toPrecision(4)} to ${+column.max.toPrecision(4)}`;
  return labelled(column.name, h("input", { type: "text", "data-number": column.name, placeholder: ends ? `from..to, ${ends}` : "from..to" }));
}

function chosen(field: HTMLElement): string[] {
  const select = field.querySelector("select");
  if (select) return [...select.selectedOptions].map((option) => option.value);
  const text = field.querySelector("input")?.value ?? "";
  return text.split(/[,|]/).map((each) => each.trim()).filter(Boolean);
}

/** "34 of 276 items pass: 20 pictures, 14 sounds." */
function passingText({ rows, of, items, says, wrong }: Passing): string {
  if (Object.keys(wrong).length) return "";
  if (!rows) return says ?? "Nothing passes.";
  const kinds = [[items.image, "pictures"], [items.audio, "sounds"]].filter(([count]) => count).map(([count, name]) => `${count!.toLocaleString("en")} ${name}`);
  return `${rows.toLocaleString("en")} of ${of.toLocaleString("en")} items pass: ${kinds.join(", ")}.`;
}

/** What the fields say, and of each that says nothing that fits, what is expected. */
function filtersOf(fields: Fields, columns: HTMLElement): { filters: Filters; wrong: Record<string, string> } {
  const filters: Filters = {};
  const wrong: Record<string, string> = {};
  if (fields.box.value.trim()) {
    const read = readBox(fields.box.value);
    if ("wrong" in read) wrong.box = read.wrong;
    else filters.box = read.box;
  }
  if (fields.polygon.value.trim()) {
    const read = readPolygon(fields.polygon.value);
    if ("wrong" in read) wrong.polygon = read.wrong;
    else filters.polygon = read.polygon;
  }
  const hours = fields.hours.value.trim();
  if (hours) filters[fields.solar.checked ? "hours_solar" : "hours"] = hours;
  if (fields.months.value.trim()) filters.months = fields.months.value.trim();
  if (fields.season.value) filters.season = fields.season.value;
  if (fields.dates.value.trim()) filters.dates = fields.dates.value.trim();
  if (chosen(fields.source).length) filters.source = chosen(fields.source);
  if (chosen(fields.license).length) filters.license = chosen(fields.license);
  const where: Record<string, string[]> = {};
  for (const select of columns.querySelectorAll("select")) {
    const values = [...select.selectedOptions].map((option) => option.value);
    if (values.length && select.dataset.column) where[select.dataset.column] = values;
  }
  if (Object.keys(where).length) filters.where = where;
  const compare: string[] = [];
  for (const input of columns.querySelectorAll("input")) {
    if (!input.value.trim()) continue;
    const ends = rangeOf(input.value);
    if (!ends) wrong[input.dataset.number ?? ""] = "a range expected, such as 3..8, 3.. or ..8";
    if (ends?.[0]) compare.push(`${input.dataset.number}>=${ends[0]}`);
    if (ends?.[1]) compare.push(`${input.dataset.number}<=${ends[1]}`);
  }
  if (compare.length) filters.compare = compare;
  return { filters, wrong };
}

/** "3..8", "3..", "..8" or "3" as its two ends. */
export function rangeOf(text: string): [string, string] | null {
  const parts = text.split("..").map((part) => part.trim());
  const ends: [string, string] = parts.length === 1 ? [parts[0]!, parts[0]!] : [parts[0] ?? "", parts[1] ?? ""];
  const fits = parts.length <= 2 && ends.some(Boolean) && ends.every((end) => end === "" || Number.isFinite(Number(end)));
  return fits ? ends : null;
}

function write(fields: Fields, columns: HTMLElement, filters: Filters): void {
  fields.box.value = filters.box?.map((degrees) => +degrees.toFixed(5)).join(", ") ?? "";
  fields.polygon.value = filters.polygon?.map(([east, north]) => `${+east.toFixed(5)} ${+north.toFixed(5)}`).join(", ") ?? "";
  fields.hours.value = filters.hours_solar ?? filters.hours ?? "";
  fields.solar.checked = filters.hours_solar !== undefined;
  fields.months.value = filters.months ?? "";
  fields.season.value = filters.season ?? "";
  fields.dates.value = filters.dates ?? "";
  choose(fields.source, filters.source ?? []);
  choose(fields.license, filters.license ?? []);
  for (const select of columns.querySelectorAll("select")) {
    const values = filters.where?.[select.dataset.column ?? ""] ?? [];
    for (const option of select.options) option.selected = values.includes(option.value);
  }
  for (const input of columns.querySelectorAll("input")) {
    const ends = ["", ""];
    for (const said of filters.compare ?? []) {
      const name = input.dataset.number ?? "";
      if (said.startsWith(`${name}>=`)) ends[0] = said.slice(name.length + 2);
      if (said.startsWith(`${name}<=`)) ends[1] = said.slice(name.length + 2);
    }
    input.value = ends.some(Boolean) ? ends.join("..") : "";
  }
}

function choose(field: HTMLElement, values: string[]): void {
  const select = field.querySelector("select");
  if (select) for (const option of select.options) option.selected = values.includes(option.value);
  const input = field.querySelector("input");
  if (input) input.value = values.join(", ");
}
