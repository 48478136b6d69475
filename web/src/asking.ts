// From a query to its hits: asks the server when the query changes, and forgets answers that come too late.

import { type Answer, getArrays, postJson, Refused, type SearchBody } from "./api";
import { bare, nameOf, titleOf } from "./share";
import type { Given, Query, Seek, State, Store } from "./state";

const SAID_OF_TOKEN = 30; // letters of a file's token that a refusal tells at least

export interface Asking {
  /** Asks again, as after marks or once a lost file is back. */
  again: () => void;
  /** Tokens of files that the server no longer has. */
  lost: Set<string>;
  /** Is told when a search begins, ends, or is refused. */
  onchange: (fn: (busy: boolean, refused: string | null) => void) => void;
}

/** Whether a query asks for anything. */
export const asks = (query: Query): boolean => query.like.length + query.unlike.length > 0;

export const isLonePlace = (query: Query): boolean =>
  query.like.length === 1 && "place" in query.like[0]! && !query.unlike.length && query.find !== "image" && query.windows === "best" && !query.borderline && !query.marks;

/** The one place that is asked for, if any. */
export const placeAsked = ({ like }: Query): [number, number] | null => {
  const [given, ...more] = like.filter((each) => "place" in each);
  return given && !more.length ? (given as { place: [number, number] }).place : null;
};

const nameKey = (query: Query): string => JSON.stringify([query.like.map(bare), query.unlike.map(bare)]);

export function startAsking(store: Store): Asking {
  const told: ((busy: boolean, refused: string | null) => void)[] = [];
  const tell = (busy: boolean, refused: string | null = null) => told.forEach((fn) => fn(busy, refused));
  const names = new Map<string, string>();
  const lost = new Set<string>();
  let running: AbortController | null = null;

  const answerTo = async (query: Query, signal: AbortSignal): Promise<Answer> => {
    if (isLonePlace(query)) return clicked(query, signal);
    const key = nameKey(query);
    let body = bodyOf(query, null);
    if (query.marks) {
      const name = names.get(key) ?? (await postJson<Answer>("api/search", { ...body, k: 1, borderline: false }, signal)).query;
      names.set(key, name);
      body = bodyOf(query, name);
    }
    return postJson<Answer>("api/search", body, signal);
  };

  const ask = async (): Promise<void> => {
    running?.abort();
    const { query, other } = store.get();
    if (!asks(query)) {
      running = null;
      tell(false);
      store.set({ answer: null, otherAnswer: null, hits: [], scores: null, otherScores: null, refused: null });
      return;
    }
    const control = new AbortController();
    running = control;
    tell(true);
    try {
      const [answer, otherAnswer] = await Promise.all([answerTo(query, control.signal), other ? answerTo(other, control.signal) : null]);
      if (running !== control) return;
      if (!query.marks) names.set(nameKey(query), answer.query);
      lost.clear();
      tell(false);
      show(store, answer, otherAnswer);
      await colour(store, control.signal);
    } catch (error) {
      if (running !== control || (error instanceof DOMException && error.name === "AbortError")) return;
      noteLost(error, [query, other], lost);
      const sentence = error instanceof Error ? error.message : String(error);
      tell(false, sentence);
      store.set({ answer: null, otherAnswer: null, hits: [], scores: null, otherScores: null, goes: false, linked: false, says: sentence, refused: sentence });
    }
  };

  store.on((state, before) => {
    if (state.query !== before.query || state.other !== before.other) {
      // a new query closes what was open; what lies at a place that was clicked stays listed
      if (asks(state.query) && nameKey(state.query) !== nameKey(before.query)) store.set({ row: null, here: isLonePlace(state.query) ? state.here : [] });
      void ask();
    }
    else if (state.colour !== before.colour && running) void colour(store, running.signal);
  });
  if (asks(store.get().query)) queueMicrotask(() => void ask());
  return { again: () => void ask(), lost, onchange: (fn) => told.push(fn) };
}

export function bodyOf(query: Query, marks: string | null): SearchBody {
  const { find, k, windows, borderline, filters } = query;
  return {
    like: query.like.map(bare), unlike: query.unlike.map(bare), marks: marks === null ? null : { query: marks, on: true },
    find, k, windows, borderline, filters,
  };
}

/** A place alone is a click: the tile there, or the nearest one, and its likely sounds. */
async function clicked(query: Query, signal: AbortSignal): Promise<Answer> {
  const [longitude, latitude] = (query.like[0] as Given & { place: [number, number] }).place;
  const told = await postJson<Partial<Answer> & { hits: Answer["hits"] }>("api/click", { longitude, latitude, k: query.k, filters: query.filters }, signal);
  return {
    query: nameOf(query.like[0]!), score_is: "", find: "audio", searched: 0, of: 0, notes: [], marks: null, chance: null, ...told,
  };
}

function show(store: Store, answer: Answer, otherAnswer: Answer | null): void {
  const { linked, row } = store.get();
  const patch: Partial<State> = {
    answer, otherAnswer, refused: null, hits: answer.hits.map((hit) => hit.row), scores: null, otherScores: null,
    seek: linked ? null : seekOf(store.get(), answer), goes: false, linked: false,
    says: `${foundText(answer)} for ${titleOf(store.get().query)}`,
  };
  if (answer.picture && !(linked && row !== null)) patch.row = answer.picture.row;
  store.set(patch);
}

const ONE: Record<string, string> = { image: "picture", audio: "sound" };

/** "20 sounds found". */
export function foundText({ hits, find }: Answer): string {
  const what = ONE[find ?? ""] ?? "item";
  return hits.length ? `${hits.length} ${what}${hits.length === 1 ? "" : "s"} found` : "nothing found";
}

/** The map goes to a place that was typed, but stays where it was clicked; of anything else the hits come into view. */
function seekOf({ query, goes }: State, answer: Answer): Seek {
  const rows = answer.hits.map((hit) => hit.row);
  if (!isLonePlace(query)) return { place: null, onMap: rows, onPlane: rows, always: false };
  const place = goes ? (query.like[0] as Given & { place: [number, number] }).place : null;
  return { place, onMap: goes && answer.picture ? [answer.picture.row] : [], onPlane: rows, always: false };
}

/** Fetches the scores of all rows where points are coloured by them; of both queries where by their difference. */
async function colour(store: Store, signal: AbortSignal): Promise<void> {
  const { colour: by, scores, otherScores, query, other, answer } = store.get();
  const both = by === "difference" && other !== null;
  if ((by !== "score" && !both) || !answer || !asks(query) || (scores && (otherScores || !both))) return;
  const scoresOf = async (asked: Query): Promise<Float32Array | null> => {
    const { k: _, ...body } = bodyOf(asked, null);
    const found = await getArrays("api/scores", body, signal);
    return found.scores instanceof Float32Array ? found.scores : null;
  };
  try {
    const [one, two] = await Promise.all([scores ?? scoresOf(query), both ? otherScores ?? scoresOf(other) : null]);
    store.set({ scores: one, otherScores: two });
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "AbortError")) store.set({ says: error instanceof Error ? error.message : String(error) });
  }
}

function noteLost(error: unknown, queries: (Query | null)[], lost: Set<string>): void {
  if (!(error instanceof Refused) || error.status !== 404) return;
  const tokens = queries.flatMap((query) => [...(query?.like ?? []), ...(query?.unlike ?? [])]).flatMap((given) => ("upload" in given ? [given.upload] : []));
  for (const token of tokens) if (error.message.includes(token.slice(0, SAID_OF_TOKEN))) lost.add(token);
}
