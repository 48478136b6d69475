import { type About, getJson } from "./api";
import { mountPanels } from "./panels";
import { queryFromText, queryToText } from "./share";
import { Store } from "./state";

const store = new Store();
const at = (id: string): HTMLElement => document.getElementById(id)!;

async function start(): Promise<void> {
  const about = await getJson<About>("api/about");
  const told = new URLSearchParams(location.hash.slice(1));
  const query = queryFromText(told.get("q") ?? "");
  store.set({ about, ...(query ? { query } : {}) });
  store.on((state, before) => {
    if (state.says !== before.says) at("says").textContent = state.says;
    if (state.query !== before.query) {
      const text = queryToText(state.query);
      history.replaceState(null, "", text ? `#q=${encodeURIComponent(text)}` : "#");
    }
  });
  mountPanels({ search: at("search"), filters: at("filters"), hits: at("hits"), item: at("item"), tools: at("tools") }, store);
  if (!query) store.set({ says: "the link's query is damaged" });
  document.documentElement.dataset.ready = "";
}

void start();
