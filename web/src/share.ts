// A query as a part of the page's address, and back. A link is written by others: whatever does not fit is refused.

import type { About, Example, Filters } from "./api";
import { emptyQuery, type Given, type Outline, type Query, type ShownLayer, type State } from "./state";

/** Of the map: longitude, latitude, zoom; bearing and pitch in degrees; whether it is a globe. */
export interface View { at: [number, number, number]; turn: [number, number]; globe: boolean }

const MOST_EXAMPLES = 50;
const MOST_LETTERS = 20_000;
const LONGEST_NAME = 200;
const MOST_ROWS = 50; // of a selection, that a link tells one by one
const MOST_CORNERS = 120;

/** What an address tells behind its #. */
export interface Link {
  query: Query | null; other: Query | null; row: number | null; colour: string | null; layers: Record<string, ShownLayer>;
  view: View | null; plane: [number, number, number] | null; selection: { selected: Uint32Array | null; outline: Outline | null } | null;
}

/** What a link tells, and in sentences what of it cannot be read: the rest counts. */
export function linkFrom(text: string, about: About): { link: Link; wrong: string[] } {
  const told = new URLSearchParams(text);
  const wrong: string[] = [];
  const read = <T>(name: string, from: (text: string) => T | null, says: string): T | null => {
    const given = told.get(name);
    if (given === null || given === "") return null;
    const found = from(given);
    if (found === null) wrong.push(says);
    return found;
  };
  const known = ["at", "plane", "q", "c", "row", "colour", "layers", "sel", "index"];
  const strange = [...told.keys()].filter((name) => !known.includes(name));
  if (strange.length) wrong.push(`It says "${strange[0]!.slice(0, 40)}", which this page does not know.`);
  const rowOf = (given: string) => (/^\d{1,15}$/.test(given) && Number(given) < about.rows ? Number(given) : null);
  const colourOf = (given: string) => (["score", "difference"].includes(given) || about.columns.some(({ name }) => given === `column ${name}`) ? given : null);
  const layersOf = (given: string) => {
    const found = Object.entries(layersFromText(given)).filter(([name]) => about.layers.some((layer) => layer.name === name));
    return found.length ? Object.fromEntries(found) : null;
  };
  const usual = JSON.stringify({});
  const link: Link = {
    query: read("q", queryFromText, "Its search is damaged: search anew."),
    other: read("c", queryFromText, "The search it compares with is damaged."),
    row: read("row", rowOf, `It opens an item that is not here: there are ${about.rows.toLocaleString("en")}.`),
    colour: read("colour", colourOf, "It colours points by a column that is not here."),
    layers: told.get("layers") === usual ? {} : read("layers", layersOf, "Its layers are not here.") ?? {},
    view: read("at", viewFromText, "The part of the map it shows is damaged: all data are shown."),
    plane: read("plane", planeFromText, "The part of the plane it shows is damaged: all points are shown."),
    selection: read("sel", (given) => selectionFromText(given, about.rows), "Its selection is damaged, or names items that are not here."),
  };
  const byNumber = link.row !== null || link.selection?.selected || [link.query, link.other].some((query) => [...(query?.like ?? []), ...(query?.unlike ?? [])].some((given) => "row" in given));
  const index = told.get("index");
  if (byNumber && index && index !== about.index.fingerprint) wrong.push("The index has changed since the link was made: its items may now be others.");
  return { link, wrong };
}

/** The address, behind its #, of what the page shows. */
export function linkTo(state: State, view: View | null, plane: [number, number, number] | null): string {
  const { about, query, other, row, colour, layers } = state;
  const said: [string, string][] = [
    ["at", view ? viewToText(view) : ""], ["plane", plane?.join(",") ?? ""], ["q", queryToText(query)], ["c", other ? queryToText(other) : ""],
    ["row", row === null ? "" : String(row)], ["colour", colour ?? ""], ["layers", layersToText(layers)], ["sel", selectionToText(state)],
  ];
  const told = new URLSearchParams(said.filter(([, text]) => text));
  if (about && ["q", "c", "row", "sel"].some((name) => told.has(name))) told.set("index", about.index.fingerprint);
  return told.toString();
}

/** The query as compact JSON without what is as usual; "" where nothing was asked. */
export function queryToText(query: Query): string {
  const usual = emptyQuery() as unknown as Record<string, unknown>;
  const kept = Object.entries(query).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(usual[name]));
  return kept.length ? JSON.stringify(Object.fromEntries(kept)) : "";
}

/** The query that such text tells; null for anything else. */
export function queryFromText(text: string): Query | null {
  if (!text) return emptyQuery();
  if (text.length > MOST_LETTERS) return null;
  let told: unknown;
  try {
    told = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isRecord(told)) return null;
  const query = emptyQuery();
  const [like, unlike, filters] = [examples(told.like), examples(told.unlike), filtersOf(told.filters)];
  if (!like || !unlike || !filters) return null;
  const k = told.k === undefined ? query.k : told.k;
  if (typeof k !== "number" || !Number.isInteger(k) || k < 1 || k > 1000) return null;
  const find = told.find === "image" || told.find === "audio" ? told.find : null;
  return {
    like, unlike, filters, k, find,
    windows: told.windows === "all" ? "all" : "best", borderline: told.borderline === true, marks: told.marks === true,
  };
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
const isNumbers = (value: unknown, count: number): value is number[] =>
  Array.isArray(value) && value.length === count && value.every((each) => typeof each === "number" && Number.isFinite(each));
const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.length <= 1000 && value.every((each) => typeof each === "string");

function examples(told: unknown): Given[] | null {
  if (told === undefined) return [];
  if (!Array.isArray(told) || told.length > MOST_EXAMPLES) return null;
  const found = told.map(exampleOf);
  return found.includes(null) ? null : (found as Given[]);
}

function exampleOf(told: unknown): Given | null {
  if (!isRecord(told)) return null;
  const more: { name?: string; kind?: "sound" | "image" } = {};
  if (typeof told.name === "string") more.name = told.name.slice(0, LONGEST_NAME);
  if (told.kind === "sound" || told.kind === "image") more.kind = told.kind;
  if (typeof told.row === "number" && Number.isInteger(told.row) && told.row >= 0) return { row: told.row, ...more };
  if (typeof told.id === "string") return { id: told.id, ...more };
  if (isNumbers(told.place, 2)) return { place: [told.place[0]!, told.place[1]!], ...more };
  if (typeof told.upload === "string" && /^[\w-]{1,128}$/.test(told.upload)) return { upload: told.upload, ...more };
  return null;
}

function filtersOf(told: unknown): Filters | null {
  if (told === undefined) return {};
  if (!isRecord(told)) return null;
  const found: Filters = {};
  if (isNumbers(told.box, 4)) found.box = told.box as [number, number, number, number];
  if (Array.isArray(told.polygon) && told.polygon.every((each) => isNumbers(each, 2))) found.polygon = told.polygon as [number, number][];
  for (const name of ["hours", "hours_solar", "months", "season", "dates"] as const) {
    const value = told[name];
    if (typeof value === "string") found[name] = value.slice(0, LONGEST_NAME);
  }
  for (const name of ["source", "license", "compare"] as const) {
    const value = told[name];
    if (isTexts(value)) found[name] = value;
  }
  if (isRecord(told.where) && Object.values(told.where).every(isTexts)) found.where = told.where as Record<string, string[]>;
  return found;
}

/** Layers that are shown, as compact JSON; "" where there are none. */
export const layersToText = (layers: Record<string, ShownLayer>): string => (Object.keys(layers).length ? JSON.stringify(layers) : "");

/** The layers that such text tells; what does not fit is left out. */
export function layersFromText(text: string): Record<string, ShownLayer> {
  let told: unknown = null;
  try {
    if (text.length <= MOST_LETTERS) told = JSON.parse(text);
  } catch {
    // nothing is shown
  }
  const found = new Map<string, ShownLayer>();
  for (const [name, each] of isRecord(told) ? Object.entries(told) : []) {
    if (!isRecord(each) || typeof each.band !== "string" || typeof each.ramp !== "string") continue;
    if (!isNumbers([each.opacity, each.from], 2)) continue;
    const [opacity, from] = [each.opacity as number, each.from as number];
    if (opacity >= 0 && opacity <= 1 && from >= 0 && from <= 100) found.set(name, { band: each.band, ramp: each.ramp, opacity, from });
  }
  return Object.fromEntries(found);
}

/** "8.5,47.4,12" or "8.5,47.4,12,30,45,globe": longitude, latitude, zoom, bearing, pitch; null for anything else. */
export function viewFromText(text: string): View | null {
  const parts = text.split(",");
  const globe = parts.at(-1) === "globe";
  const numbers = (globe ? parts.slice(0, -1) : parts).map((part) => (/^-?\d+(\.\d+)?$/.test(part) ? Number(part) : Number.NaN));
  if ((numbers.length !== 3 && numbers.length !== 5) || numbers.some(Number.isNaN)) return null;
  const [longitude, latitude, zoom, bearing, pitch] = [numbers[0]!, numbers[1]!, numbers[2]!, numbers[3] ?? 0, numbers[4] ?? 0];
  if (Math.abs(longitude) > 180 || Math.abs(latitude) > 90 || Math.abs(bearing) > 360 || pitch < 0 || pitch > 85 || zoom > 24 || zoom < -2) return null;
  return { at: [longitude, latitude, zoom], turn: [bearing, pitch], globe };
}

export function viewToText({ at: [longitude, latitude, zoom], turn: [bearing, pitch], globe }: View): string {
  const turn = bearing || pitch ? `,${bearing.toFixed(1)},${pitch.toFixed(1)}` : "";
  return `${longitude.toFixed(5)},${latitude.toFixed(5)},${zoom.toFixed(2)}${turn}${globe ? ",globe" : ""}`;
}

/** What is selected: "rows:3.17", or the outline that selects it, "plane:x,y;..." or "map:LON,LAT;..."; else "". */
export function selectionToText({ selected, outline }: State): string {
  if (!selected) return "";
  if (selected.length <= MOST_ROWS) return `rows:${selected.join(".")}`;
  return outline ? `${outline.on}:${outline.ring.map((corner) => corner.join(",")).join(";")}` : "";
}

/** The rows, or the outline, that such text tells; null for anything else. */
export function selectionFromText(text: string, rows: number): { selected: Uint32Array | null; outline: Outline | null } | null {
  const [, on, told = ""] = /^(rows|plane|map):([-\d.,;e]*)$/.exec(text.slice(0, MOST_LETTERS)) ?? [];
  if (on === "rows") {
    const numbers = told ? told.split(".") : [];
    const fits = numbers.length <= MOST_ROWS && numbers.every((each) => /^\d{1,10}$/.test(each) && Number(each) < rows);
    return fits ? { selected: Uint32Array.from(numbers, Number), outline: null } : null;
  }
  if (on !== "plane" && on !== "map") return null;
  const ring = told.split(";").map((corner) => corner.split(",").map((number) => (number ? Number(number) : Number.NaN)));
  if (ring.length < 3 || ring.length > MOST_CORNERS || !ring.every((corner) => isNumbers(corner, 2))) return null;
  return { selected: null, outline: { on, ring: ring as [number, number][] } };
}

/** Corners as a link holds them: rounded, and no more than it takes. */
export function plainRing(ring: [number, number][]): [number, number][] {
  const every = Math.ceil(ring.length / MOST_CORNERS);
  return ring.filter((_, at) => at % every === 0).map(([x, y]) => [+x.toPrecision(8), +y.toPrecision(8)]);
}

/** The middle of the plane's view and half of its lesser side; null for anything else. */
export function planeFromText(text: string): [number, number, number] | null {
  const numbers = text.split(",").map((part) => (/^-?\d+(\.\d+)?(e-?\d+)?$/.test(part) ? Number(part) : Number.NaN));
  return isNumbers(numbers, 3) && numbers[2]! > 0 ? (numbers as [number, number, number]) : null;
}

/** The example alone, as the server takes it. */
export function bare(given: Given): Example {
  if ("row" in given) return { row: given.row };
  if ("id" in given) return { id: given.id };
  if ("place" in given) return { place: given.place };
  return { upload: given.upload };
}

/** What an example is called on the page. */
export function nameOf(given: Given): string {
  if (given.name) return given.name;
  if ("row" in given) return `row ${given.row}`;
  if ("id" in given) return given.id;
  if ("place" in given) return `${+given.place[0].toFixed(5)}, ${+given.place[1].toFixed(5)}`;
  return "a file";
}

/** What a query is called on the page: its one example, or all with + and −. */
export function titleOf(query: Query): string {
  const names = [...query.like.map((given) => `+ ${nameOf(given)}`), ...query.unlike.map((given) => `− ${nameOf(given)}`)];
  return (query.like.length === 1 && !query.unlike.length ? nameOf(query.like[0]!) : names.join(" ")).slice(0, 160);
}

/** Copies the page's address; false where the browser does not let it. */
export async function copyLink(): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(location.href);
    return true;
  } catch {
    return false;
  }
}
