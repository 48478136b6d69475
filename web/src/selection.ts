// What is selected, or lies at the place that was clicked, as a list: for those who do not use the pointer, and where
// many points lie at one place.

import { getJson, type Item } from "./api";
import { fill, h } from "./dom";
import { emptyQuery, type Given, type State, type Store } from "./state";
import { timeText } from "./text";

const STEP = 10;
const MOST_EXAMPLES = 50;

/** Fills the region of the selection; it is hidden while nothing is selected. */
export function mountSelection(place: HTMLElement, store: Store): void {
  let loading: AbortController | null = null;
  const show = (title: string, rows: ArrayLike<number>) => {
    loading?.abort();
    const control = new AbortController();
    loading = control;
    const list = h("ol", { class: "plain-list", "aria-label": title });
    const more = h("button", { type: "button" }, "Show more");
    const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
    const known: Item[] = [];
    const next = async () => {
      const wanted = Array.from({ length: Math.min(STEP, rows.length - known.length) }, (_, at) => rows[known.length + at]!);
      more.disabled = true;
      try {
        const items = await Promise.all(wanted.map((row) => getJson<Item>(`api/items/${row}`, control.signal)));
        known.push(...items);
        list.append(...items.map((item) => h("li", {}, h("button", { type: "button", onclick: () => store.set({ row: item.row }) }, nameOf(item)))));
      } catch (error) {
        if (control.signal.aborted) return;
        wrong.textContent = error instanceof Error ? error.message : String(error);
        wrong.hidden = false;
      }
      more.disabled = false;
      more.hidden = known.length >= rows.length;
    };
    more.addEventListener("click", () => void next());
    const search = h("button", { type: "button", onclick: () => {
      const like: Given[] = known.length === rows.length ? known.map((item) => ({ row: item.row, name: item.key.slice(0, 120), kind: item.modality === "audio" ? "sound" : "image" })) : Array.from(rows, (row) => ({ row }));
      const { k, filters } = store.get().query;
      store.set({ query: { ...emptyQuery(), k, filters, like }, says: "searching by what is selected" });
    } }, "Search by these");
    const many = rows.length > MOST_EXAMPLES;
    if (many) search.disabled = true;
    fill(place, h("h2", {}, `${title} (${rows.length.toLocaleString("en")})`), list, wrong,
      h("div", { class: "row" }, more, rows.length ? search : null, many ? h("span", { class: "fine" }, `At most ${MOST_EXAMPLES} at once are searched by.`) : null));
    void next();
  };
  const draw = ({ here, selected }: State) => {
    place.hidden = !here.length && selected === null;
    loading?.abort();
    if (here.length) show("At this place", here);
    else if (selected) show("Selected", selected);
    else place.replaceChildren();
  };
  store.on((state, before) => {
    if (state.selected !== before.selected && state.here.length) store.set({ here: [] });
    else if (state.here !== before.here || state.selected !== before.selected) draw(state);
  });
  draw(store.get());
}

/** An item as lists call it. */
export const nameOf = (item: Item): string =>
  `${item.id.slice(0, 80)} (${item.modality === "audio" ? "sound" : "picture"}${item.datetime ? `, ${timeText(item.datetime)}` : ""})`;
