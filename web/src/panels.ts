// The panels beside map and plane: search, filters, hits, the open item, keys; one player for all.

import { startAsking } from "./asking";
import { mountFilters } from "./filters";
import { mountHits } from "./hits";
import { mountItem } from "./item";
import { mountKeyboard } from "./keyboard";
import { Player } from "./player";
import { mountSearch } from "./search";
import type { Store } from "./state";
import "./panels.css";

/** Where each panel goes; `tools` takes the button Help. */
export interface Places { search: HTMLElement; filters: HTMLElement; hits: HTMLElement; item: HTMLElement; tools: HTMLElement }

/** Fills the panels. Call once `about` and what the address tells are in the store. */
export function mountPanels(places: Places, store: Store): void {
  const player = new Player();
  const asking = startAsking(store);
  mountSearch(places.search, store, asking);
  mountFilters(places.filters, store);
  mountHits(places.hits, store, asking, player);
  mountItem(places.item, store, player);
  mountKeyboard(places.tools, store, player);
}
