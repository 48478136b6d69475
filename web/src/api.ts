// The server's addresses, typed; all relative to the page, so that it works below any path.

export type Modality = "image" | "audio";
export type Verdict = "right" | "wrong" | "unsure";
export type Example = { row: number } | { id: string } | { place: [number, number] } | { upload: string };

export interface Column { name: string; kind: "category" | "number" | "time"; values?: string[] | null; min?: number | null; max?: number | null }
export interface Band { name: string; title: string; min: number | null; max: number | null; scale: number; offset: number; says: string }
export interface Layer {
  name: string; title: string; bands: Band[]; bounds: [number, number, number, number]; minzoom: number; maxzoom: number;
  attribution: string; synthetic: boolean; classes?: string[] | null; notes?: string[]; files?: string[];
}

export interface About {
  version: string; title: string; synthetic: boolean; items: Record<string, number>; rows: number; coordinates: boolean; plane: boolean;
  media: boolean; bounds: [number, number, number, number] | null; metric: "cosine" | "distance"; score_is: string;
  model: { name: string; fingerprint: string; ready: boolean; card: string | null; queries: string[] } | null;
  model_missing?: string | null;
  index: { fingerprint: string; model: string; dimensions: number; windows: boolean };
  columns: Column[];
  limits: { upload_bytes: number; sound_seconds: number; image_pixels: number; hits: number; queue: number };
  layers: Layer[]; marks: { writable: boolean; name: string };
  basemap: { kind: "outline" | "tiles"; url?: string | null; attribution: string }; who: string;
}

export interface Item {
  row: number; id: string; key: string; modality: Modality; longitude: number | null; latitude: number | null; datetime: string | null;
  source: string | null; license: string | null; attribution: string | null; start_s: number | null; seconds: number | null;
  bounds: number[] | null; crs: string | null; /** The ground it shows, (longitude, latitude) of its corners. */ footprint: [number, number][] | null; picture: string | null;
  sound: { url: string; peaks: string; spectrogram: string } | null; missing: string | null; more: Record<string, string | null>;
}

export interface Hit extends Item { rank: number; score: number; percentile: number; verdict?: Verdict | null; spread?: number | null }

export interface Filters {
  box?: [number, number, number, number]; polygon?: [number, number][]; hours?: string; hours_solar?: string; months?: string;
  season?: string; dates?: string; source?: string[]; license?: string[]; where?: Record<string, string[]>; compare?: string[];
}

/** What filters leave, or which of them are wrong. */
export interface Passing { rows: number; of: number; items: Record<string, number>; says: string | null; wrong: Record<string, string> }

export interface SearchBody {
  like: Example[]; unlike: Example[]; marks: { query: string; on: boolean } | null; find: Modality | null; k: number;
  windows: "best" | "all"; borderline: boolean; filters: Filters;
}

export interface Answer {
  query: string; score_is: string; find: Modality | "all" | null; searched: number; of: number; hits: Hit[]; notes: string[];
  marks: { says: string[] } | null; chance: string | null;
  /** Of a click: the tile there, or the nearest one and how far away it is. */
  picture?: Item | null; km?: number | null;
}

export interface Upload { upload: string; kind: "sound" | "image"; name: string; seconds?: number | null; width?: number | null; height?: number | null; notes: string[] }
export interface Tick { hz: number; at: number }
export interface Peaks { seconds: number; channels: number; peaks: number[][]; notes?: string[]; ticks?: Tick[] }

/** The server's refusal: its sentence, and after how many seconds to ask again. */
export class Refused extends Error {
  constructor(sentence: string, readonly status: number, readonly again: number | null = null) {
    super(sentence);
  }
}

const GIVEN_UP = 3;

async function asked(path: string, init: RequestInit): Promise<Response> {
  for (let time = 1; ; time += 1) {
    let answer: Response;
    try {
      answer = await fetch(path, init);
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new Refused("the server does not answer; see whether earthtone serve still runs, then try again", 0);
    }
    if (answer.ok) return answer;
    const refused = await refusal(answer);
    if (answer.status !== 503 || refused.again === null || time >= GIVEN_UP) throw refused;
    await later(refused.again, init.signal ?? null);
  }
}

async function refusal(answer: Response): Promise<Refused> {
  const told: unknown = await answer.json().catch(() => null);
  const sentence = told && typeof told === "object" && "error" in told && typeof told.error === "string" ? told.error : `the server said ${answer.status}`;
  const again = Number(answer.headers.get("Retry-After") ?? Number.NaN);
  return new Refused(sentence, answer.status, Number.isFinite(again) ? Math.min(again, 10) : null);
}

function later(seconds: number, signal: AbortSignal | null): Promise<void> {
  return new Promise((done, failed) => {
    const timer = setTimeout(done, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      failed(new DOMException("stopped", "AbortError"));
    });
  });
}

export async function getJson<T>(path: string, signal: AbortSignal | null = null): Promise<T> {
  return (await asked(path, { signal })).json() as Promise<T>;
}

/** Sends JSON and returns the answer. */
export function post(path: string, body: unknown, signal: AbortSignal | null = null): Promise<Response> {
  return asked(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
}

export async function postJson<T>(path: string, body: unknown, signal: AbortSignal | null = null): Promise<T> {
  return (await post(path, body, signal)).json() as Promise<T>;
}

export async function upload(file: File): Promise<Upload> {
  const headers = { "Content-Type": file.type || "application/octet-stream", "X-Name": encodeURIComponent(file.name.slice(0, 200)) };
  return (await asked("api/uploads", { method: "POST", headers, body: file })).json() as Promise<Upload>;
}

export type Numbers = Float32Array | Uint8Array | Uint16Array | Uint32Array;
const KINDS = { f4: Float32Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array };
interface Head { rows: number; arrays: { name: string; dtype: keyof typeof KINDS; offset: number; length: number }[] }

/** The arrays of a binary answer: "ETP1", the length of a JSON head, the head, arrays in little-endian order. */
export function arraysOf(buffer: ArrayBuffer): Record<string, Numbers> {
  const view = new DataView(buffer);
  if (buffer.byteLength < 8 || new TextDecoder().decode(buffer.slice(0, 4)) !== "ETP1") throw new Error("no table of points came; load the page again");
  const length = view.getUint32(4, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length))) as Head;
  const found: Record<string, Numbers> = {};
  for (const { name, dtype, offset, length: count } of head.arrays) found[name] = new KINDS[dtype](buffer, offset, count);
  return found;
}

export async function getArrays(path: string, body: unknown = null, signal: AbortSignal | null = null): Promise<Record<string, Numbers>> {
  const answer = body === null ? await asked(path, { signal }) : await post(path, body, signal);
  return arraysOf(await answer.arrayBuffer());
}
