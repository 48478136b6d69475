// The card of one item: its picture or sound, what is known of it, whose it is.

import { getJson, type Item } from "./api";
import { add, fill, h } from "./dom";
import { credit, distanceOf } from "./hits";
import type { Player } from "./player";
import type { Given, Query, Store } from "./state";
import { placeText, timeText } from "./text";

/** Fills the region of the item that is open, and keeps it as the state tells. */
export function mountItem(place: HTMLElement, store: Store, player: Player): void {
  const body = h("div", { class: "item" });
  const close = h("button", { type: "button", class: "close", "aria-label": "Close the item", onclick: () => store.set({ row: null }) }, "×");
  add(place, h("div", { class: "item-head" }, h("h2", {}, "Item"), close), body, player.element);
  let loading: AbortController | null = null;

  const open = async (row: number) => {
    loading?.abort();
    const control = new AbortController();
    loading = control;
    const { answer, otherAnswer } = store.get();
    const known = [answer?.picture, ...(answer?.hits ?? []), ...(otherAnswer?.hits ?? [])].find((item) => item?.row === row);
    try {
      const item = known ?? (await getJson<Item>(`api/items/${row}`, control.signal));
      if (loading !== control) return;
      fill(body, ...card(item, store));
      if (item.sound === null) player.close();
      else if (player.row !== row) await player.open(item, false);
    } catch (error) {
      if (control.signal.aborted) return;
      player.close();
      fill(body, h("p", { role: "alert", class: "wrong" }, error instanceof Error ? error.message : String(error)));
    }
  };
  const show = (row: number | null) => {
    place.hidden = row === null;
    if (row === null) {
      loading?.abort();
      player.close();
      body.replaceChildren();
    } else void open(row);
  };
  store.on((state, before) => {
    if (state.row !== before.row) show(state.row);
  });
  show(store.get().row);
}

function card(item: Item, store: Store): (Node | null)[] {
  const like: Given = { row: item.row, name: item.key.slice(0, 120), kind: item.modality === "audio" ? "sound" : "image" };
  const ask = (query: Partial<Query>, says: string) => () => store.set({ query: { ...store.get().query, unlike: [], ...query }, says });
  const { query, about } = store.get();
  const facts: [string, string | null][] = [
    ["Place", item.longitude !== null && item.latitude !== null ? placeText(item.longitude, item.latitude) : "not known"],
    ["From the place asked", distanceOf(item, store.get())],
    ["Time", item.datetime ? timeText(item.datetime) : null],
    ["Length", item.seconds === null ? null : `${+item.seconds.toFixed(1)} s${item.start_s === null ? "" : ` from ${+item.start_s.toFixed(1)} s`}`],
    ["Licence, author", credit(item)],
    ...Object.entries(item.more).map(([name, value]): [string, string | null] => [name, value]),
  ];
  const kind = item.modality === "audio" ? "sound" : "picture";
  return [
    h("p", { class: "item-name" }, h("strong", {}, item.id.slice(0, 200)), ` (${kind})`),
    item.picture ? h("img", { class: "item-picture", src: `${item.picture}?size=512`, alt: `Picture ${item.id.slice(0, 80)} from above` }) : null,
    item.missing ? h("p", { class: "note" }, item.missing) : null,
    h("dl", {}, ...facts.flatMap(([name, value]) => (value ? [h("dt", {}, name), h("dd", {}, value.slice(0, 300))] : []))),
    h("div", { class: "buttons", role: "group", "aria-label": "Search by this item" },
      !about?.items.audio ? null : h("button", { type: "button", onclick: ask({ like: [like], find: "audio" }, "sounds for this item") }, item.modality === "audio" ? "Similar sounds" : "Likely sounds"),
      !about?.items.image ? null : h("button", { type: "button", onclick: ask({ like: [like], find: "image" }, "pictures for this item") }, item.modality === "audio" ? "Likely places" : "Similar places"),
      h("button", { type: "button", onclick: ask({ like: [...query.like, like], unlike: query.unlike }, "added as an example") }, "Add as +"),
      h("button", { type: "button", onclick: ask({ like: query.like, unlike: [...query.unlike, like] }, "added as a counterexample") }, "Add as −")),
  ];
}
