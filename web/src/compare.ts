// Two queries beside each other: A, the one now asked, and B, the one kept.

import type { Answer } from "./api";
import { h } from "./dom";
import { titleOf } from "./share";
import type { Query, State, Store } from "./state";
import { percentileText, placeText, scoreText } from "./text";

/** Two columns of hits with where each stands in the other, and how many are in both. */
export function comparison(answer: Answer, other: Answer, list: HTMLElement, state: State, store: Store): HTMLElement {
  const there = new Map(answer.hits.map((hit) => [hit.row, hit.rank]));
  const both = other.hits.filter((hit) => there.has(hit.row)).length;
  const kept = h("ol", { class: "hit-list other", "aria-label": "Hits of B" }, ...other.hits.slice(0, 50).map((hit) => {
    const rank = there.get(hit.row);
    return h("li", { class: rank === undefined ? "hit only" : "hit" },
      h("div", { class: "facts" },
        h("div", { class: "head-line" }, h("span", { class: "rank" }, `${hit.rank}.`),
          h("button", { type: "button", class: "name", title: hit.id.slice(0, 300), onclick: () => store.set({ row: hit.row }) }, hit.id.slice(0, 80))),
        h("div", { class: "score-line" }, `score ${scoreText(hit.score)} · percentile ${percentileText(hit.percentile)}`),
        h("div", { class: "fine" }, hit.longitude !== null && hit.latitude !== null ? placeText(hit.longitude, hit.latitude) : "no place"),
        h("div", { class: "fine" }, rank === undefined ? "not among A's hits" : `rank ${rank} in A`)));
  }));
  const same = answer.find === other.find && answer.score_is === other.score_is && sameSearched(state.query, state.other);
  return h("div", { class: "comparison" },
    h("p", { class: "note" }, `${both} of B's ${other.hits.length} hits are among A's ${answer.hits.length}.`,
      same ? null : " A and B search different items, or score in different ways: compare ranks, not scores."),
    h("button", { type: "button", "aria-pressed": String(state.colour === "difference"), onclick: () => store.set({ colour: "difference", says: "points are coloured by A minus B" }) }, "Colour points by A minus B"),
    h("div", { class: "columns" },
      h("section", { "aria-label": "A" }, h("h3", {}, `A: ${titleOf(state.query)}`), list),
      h("section", { "aria-label": "B" }, h("h3", {}, `B: ${state.other ? titleOf(state.other) : ""}`), kept)));
}

function sameSearched(one: Query, other: Query | null): boolean {
  return other !== null && one.find === other.find && one.windows === other.windows && JSON.stringify(one.filters) === JSON.stringify(other.filters);
}
