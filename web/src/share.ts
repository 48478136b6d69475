// A query as a part of the page's address, and back. A link is written by others: whatever does not fit is refused.

import type { Example, Filters } from "./api";
import { emptyQuery, type Given, type Query, type ShownLayer } from "./state";

/** Of the map: longitude, latitude, zoom; bearing and pitch in degrees; whether it is a globe. */
export interface View { at: [number, number, number]; turn: [number, number]; globe: boolean }

const MOST_EXAMPLES = 50;
const MOST_LETTERS = 20_000;
const LONGEST_NAME = 200;

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
