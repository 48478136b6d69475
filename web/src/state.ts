// What the page shows, in one place: parts write to it, and are told what changed.

import type { About, Answer, Example, Filters, Modality } from "./api";

/** An example of a query, with what people see of it. */
export type Given = Example & { name?: string; kind?: "sound" | "image" };

export interface Query {
  like: Given[]; unlike: Given[]; find: Modality | null; windows: "best" | "all"; borderline: boolean; marks: boolean; k: number; filters: Filters;
}

export type Picked = { place: [number, number] } | { box: [number, number, number, number] } | { polygon: [number, number][] };

/** What is to come into view: rows on the map and on the plane, a place to go to; `always`: also what is seen already. */
export interface Seek { place: [number, number] | null; onMap: number[]; onPlane: number[]; always: boolean }

/** The outline of a selection: its corners on the plane, or on the flat map as (longitude, latitude). */
export interface Outline { on: "map" | "plane"; ring: [number, number][] }

/** How a layer is shown: its band, colours, opacity (0 to 1), and the percentile from which on. */
export interface ShownLayer { band: string; ramp: string; opacity: number; from: number }

export interface State {
  about: About | null;
  /** The open item. */
  row: number | null;
  query: Query;
  /** What it is compared with. */
  other: Query | null;
  answer: Answer | null;
  otherAnswer: Answer | null;
  /** Why there is no answer. */
  refused: string | null;
  /** Rows of the hits, best first: map and plane ring them. */
  hits: number[];
  /** Of all rows, where points are coloured by score. */
  scores: Float32Array | null;
  /** The same of the query that is compared with. */
  otherScores: Float32Array | null;
  /** What points are coloured by: "score", "difference" (of two queries' scores), or "column " and its name; null by what they are. */
  colour: string | null;
  /** Rows that were brushed. */
  selected: Uint32Array | null;
  /** By which outline, where one was drawn that a link can tell. */
  outline: Outline | null;
  seek: Seek | null;
  /** Whether the map goes to where the next answer is: a place that was clicked is seen already. */
  goes: boolean;
  /** Whether a link told what is seen: its first answer moves nothing. */
  linked: boolean;
  /** Rows at one place that was clicked, where there are several. */
  here: number[];
  /** Layers on the map, by name: as they are shown. */
  layers: Record<string, ShownLayer>;
  /** What a click or drag on the map means. */
  pick: "look" | "place" | "box" | "polygon";
  picked: Picked | null;
  /** What is announced to those who do not see the page. */
  says: string;
}

export const emptyQuery = (): Query => ({ like: [], unlike: [], find: null, windows: "best", borderline: false, marks: false, k: 20, filters: {} });

export function emptyState(): State {
  return {
    about: null, row: null, query: emptyQuery(), other: null, answer: null, otherAnswer: null, refused: null, hits: [], scores: null, otherScores: null, colour: null,
    selected: null, outline: null, seek: null, goes: false, linked: false, here: [], layers: {}, pick: "look", picked: null, says: "",
  };
}

export type Listener = (state: State, before: State) => void;

export class Store {
  private state = emptyState();
  private listeners = new Set<Listener>();

  get(): State {
    return this.state;
  }

  set(patch: Partial<State>): void {
    const before = this.state;
    this.state = { ...before, ...patch };
    for (const listener of this.listeners) listener(this.state, before);
  }

  /** Calls back after each change, until what is returned is called. */
  on(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
