// Keys: listening and hits without a mouse, and a dialog that tells them. Single keys can be turned off (WCAG 2.1.4).

import { h } from "./dom";
import { stepHit } from "./hits";
import type { Player } from "./player";
import type { Store } from "./state";

const KEPT = "earthtone.keys";
const KEYS: [string, string][] = [
  ["Space", "play or pause"], ["← →", "back, on in the recording"], ["n or j, p or k", "next, previous hit; what plays gives way to it"],
  ["r, w", "the open hit is right, wrong"], ["u", "take the last mark back"], ["/", "to the field of the place"], ["?", "this help"],
  ["Esc", "close this help; end drawing"], ["Tab", "from one control to the next; map and plane take arrows, + and −"],
];

/** Listens to keys on the whole page, and puts the button Help into `place`. */
export function mountKeyboard(place: HTMLElement, store: Store, player: Player): void {
  const single = h("input", { type: "checkbox" });
  single.checked = kept();
  single.addEventListener("change", () => keep(single.checked));
  const dialog = h("dialog", { "aria-labelledby": "help-title", class: "help" },
    h("h2", { id: "help-title" }, "Keys and help"),
    h("table", {}, h("tbody", {}, ...KEYS.map(([key, what]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, what))))),
    h("label", {}, single, " Single keys work anywhere on the page"),
    h("p", {}, "Click the map for the picture there and its likely sounds. Drop a sound or a picture anywhere to search by it. The page's address holds view, query and filters: send it to others."),
    h("button", { type: "button", class: "main", autofocus: true, onclick: () => dialog.close() }, "Close"));
  document.body.append(dialog);
  const help = () => {
    if (!dialog.open) dialog.showModal();
  };
  place.append(h("button", { type: "button", onclick: help }, "Help"));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || dialog.open) return;
    const at = event.target instanceof Element ? event.target : document.body;
    if (event.key === "Escape" && store.get().pick !== "look") store.set({ pick: "look", says: "drawing ended" });
    if (!single.checked || at.closest("input:not([type=checkbox], [type=button]), textarea, select, [contenteditable], dialog")) return;
    if (act(event.key, at, store, player, help)) event.preventDefault();
  });
}

function act(key: string, at: Element, store: Store, player: Player, help: () => void): boolean {
  const onControl = at.closest("button, a, summary, input, label") !== null;
  const onCanvas = at.closest("[aria-label=Map], [aria-label=Plane], [role=tablist], [role=radiogroup]") !== null;
  const open = store.get().row;
  switch (key) {
    case "?": help(); return true;
    case "/": document.querySelector<HTMLInputElement>("[placeholder='LON, LAT']")?.focus(); return true;
    case "n": case "j": stepHit(1, store, player); return true;
    case "p": case "k": stepHit(-1, store, player); return true;
    case "r": return press(`[data-key="right-${open}"]`);
    case "w": return press(`[data-key="wrong-${open}"]`);
    case "u": return press(".judging button");
    case " ":
      if (onControl || player.row === null) return false;
      player.toggle();
      return true;
    case "ArrowLeft": case "ArrowRight":
      if (onCanvas || player.row === null) return false;
      player.step(key === "ArrowRight" ? 1 : -1);
      return true;
    default: return false;
  }
}

function press(selector: string): boolean {
  const button = document.querySelector<HTMLButtonElement>(selector);
  if (!button || button.disabled) return false;
  button.click();
  return true;
}

function kept(): boolean {
  try {
    return localStorage.getItem(KEPT) !== "off";
  } catch {
    return true;
  }
}

function keep(on: boolean): void {
  try {
    localStorage.setItem(KEPT, on ? "on" : "off");
  } catch {
    // a browser that keeps nothing: it holds until the page is closed
  }
}
