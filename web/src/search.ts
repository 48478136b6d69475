// What a search is asked with: a sound or picture dropped, chosen or recorded, a place clicked or typed, an item; + and −.

import { Refused, upload, type Upload } from "./api";
import type { Asking } from "./asking";
import { add, fill, h, labelled } from "./dom";
import { record, type Recording } from "./record";
import { nameOf } from "./share";
import { emptyQuery, type Given, type State, type Store } from "./state";
import { clock, readPlace } from "./text";

type Use = "new" | "like" | "unlike";
const MB = 2 ** 20;

/** Fills the region of the search. */
export function mountSearch(place: HTMLElement, store: Store, asking: Asking): void {
  const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
  const hint = h("p", { class: "hint", hidden: true });
  const use = choice("Use as", [["new", "a new query"], ["like", "one more example (+)"], ["unlike", "a counterexample (−)"]]);
  const tell = (sentence: string | null) => {
    wrong.hidden = sentence === null;
    wrong.textContent = sentence ?? "";
  };
  const note = (sentence: string | null) => {
    hint.hidden = sentence === null;
    hint.textContent = sentence ?? "";
  };
  const give = (given: Given) => {
    tell(null);
    const { query } = store.get();
    if (use.value === "new") store.set({ query: { ...query, like: [given], unlike: [] } });
    else if (use.value === "like") store.set({ query: { ...query, like: [...query.like, given] } });
    else store.set({ query: { ...query, unlike: [...query.unlike, given] } });
  };
  const send = async (file: File) => {
    note(`Sending ${file.name.slice(0, 80)}…`);
    tell(null);
    try {
      const sent = await upload(checked(file, store.get()));
      note(sent.notes.length ? sent.notes.join(" ") : null);
      if (asking.lost.has(sent.upload)) asking.again();
      else give({ upload: sent.upload, name: (sent.name || file.name).slice(0, 200), kind: sent.kind });
      store.set({ says: saidOf(sent, file) });
    } catch (error) {
      note(null);
      tell(error instanceof Error ? error.message : String(error));
    }
  };

  const form = h("form", { class: "search-form", novalidate: true });
  const file = fileField(send);
  const where = h("input", { type: "text", autocomplete: "off", placeholder: "LON, LAT", inputmode: "text" });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const found = readPlace(where.value, store.get().about?.bounds ?? null);
    if ("wrong" in found) {
      tell(found.wrong);
      where.setAttribute("aria-invalid", "true");
      where.focus();
      return;
    }
    where.removeAttribute("aria-invalid");
    note(found.hint);
    store.set({ goes: true });
    give({ place: found.place });
  });
  const words = h("input", { type: "text", disabled: true, autocomplete: "off" });
  const microphone = recorder(send, tell, store);
  const wordsField = labelled("Words", words, "");
  const examples = h("ul", { class: "examples", "aria-label": "Examples" });
  add(form,
    h("div", { class: "row" }, labelled("Sound or picture", file), microphone),
    h("div", { class: "row" }, labelled("Place", where), h("button", { type: "submit", class: "main" }, "Search")),
    wordsField, h("div", { class: "row" }, labelled("Use as", use), find(store)), options(store));
  add(place, h("h2", {}, "Search"), form, wrong, hint, examples);
  takeDrops(place, send);

  store.on((state, before) => {
    if (state.query !== before.query || state.answer !== before.answer) drawExamples(examples, store, asking);
    if (state.picked !== before.picked && state.picked && "place" in state.picked) {
      const [longitude, latitude] = state.picked.place;
      store.set({ picked: null });
      where.value = `${+longitude.toFixed(5)}, ${+latitude.toFixed(5)}`;
      note(null);
      give({ place: [longitude, latitude] });
    }
    if (state.about !== before.about) aboutModel(state, file, microphone, words, wordsField, note);
  });
  asking.onchange((busy) => {
    if (!busy) drawExamples(examples, store, asking);
  });
  aboutModel(store.get(), file, microphone, words, wordsField, note);
  drawExamples(examples, store, asking);
}

function saidOf(sent: Upload, file: File): string {
  const size = sent.kind === "sound" && sent.seconds ? `, ${clock(sent.seconds)}` : "";
  return `${sent.kind} ${(sent.name || file.name).slice(0, 80)}${size}`;
}

function checked(file: File, { about }: State): File {
  const most = about?.limits.upload_bytes ?? Number.POSITIVE_INFINITY;
  if (!file.size) throw new Refused(`${file.name.slice(0, 80)} is empty; choose a sound or a picture`, 0);
  if (file.size > most) {
    throw new Refused(`${file.name.slice(0, 80)} has ${(file.size / MB).toFixed(1)} MB; at most ${(most / MB).toFixed(0)} are taken: cut the part that matters`, 0);
  }
  return file;
}

/** Without a model nothing new can be embedded: files and words are off, and say why. */
function aboutModel({ about }: State, file: HTMLInputElement, microphone: HTMLElement, words: HTMLInputElement, wordsField: HTMLElement, note: (text: string | null) => void): void {
  if (!about) return;
  const kinds = about.model?.queries ?? [];
  file.disabled = !kinds.includes("sound") && !kinds.includes("image");
  const button = microphone.querySelector("button");
  if (button) {
    button.disabled = !kinds.includes("sound");
    button.title = button.disabled ? "A recording can be searched by only where there is a model" : "Record with the microphone, two minutes at most";
  }
  words.disabled = !kinds.includes("text");
  wordsField.classList.toggle("off", words.disabled);
  const why = about.model ? "Off: this model knows sounds and pictures, no words." : "Off: words need a model that knows them.";
  words.placeholder = words.disabled ? "not with this model" : "";
  const small = wordsField.querySelector("small");
  if (small) small.textContent = words.disabled ? why : "";
  if (file.disabled) note(`Without a model files cannot be searched by, items and places can${about.model_missing ? `: ${about.model_missing}` : "; start earthtone serve with --model"}.`);
}

function choice(label: string, options: [string, string][]): HTMLSelectElement & { value: Use } {
  const field = h("select", {}, ...options.map(([value, text]) => h("option", { value }, text)));
  field.setAttribute("aria-label", label);
  return field as HTMLSelectElement & { value: Use };
}

function fileField(send: (file: File) => Promise<void>): HTMLInputElement {
  const field = h("input", { type: "file", accept: "audio/*,image/*,.flac,.wav,.tif,.tiff" });
  field.addEventListener("change", () => {
    const [file] = field.files ?? [];
    field.value = ""; // so that the same file can be chosen again
    if (file) void send(file);
  });
  return field;
}

function find(store: Store): HTMLElement {
  const field = h("select", {}, h("option", { value: "" }, "the other kind"), h("option", { value: "audio" }, "sounds"), h("option", { value: "image" }, "pictures"));
  field.addEventListener("change", () => {
    const value = field.value === "audio" || field.value === "image" ? field.value : null;
    store.set({ query: { ...store.get().query, find: value } });
  });
  const show = () => (field.value = store.get().query.find ?? "");
  store.on(show);
  show();
  return labelled("Find", field);
}

/** How many hits, windows of recordings, borderline ones: rarely changed. */
function options(store: Store): HTMLElement {
  const count = h("select", {}, ...[10, 20, 50, 100, 200].map((k) => h("option", { value: k }, `${k} hits`)));
  const windows = h("input", { type: "checkbox" });
  const borderline = h("input", { type: "checkbox" });
  count.addEventListener("change", () => store.set({ query: { ...store.get().query, k: Number(count.value) } }));
  windows.addEventListener("change", () => store.set({ query: { ...store.get().query, windows: windows.checked ? "all" : "best" } }));
  borderline.addEventListener("change", () => store.set({ query: { ...store.get().query, borderline: borderline.checked } }));
  const windowsLabel = h("label", {}, windows, " Every window of a recording by itself");
  const show = (state: State) => {
    const { k } = state.query;
    if (![...count.options].some((option) => option.value === String(k))) count.append(h("option", { value: k }, `${k} hits`));
    count.value = String(k);
    windows.checked = state.query.windows === "all";
    borderline.checked = state.query.borderline;
    windowsLabel.hidden = state.about?.index.windows === false;
  };
  store.on(show);
  show(store.get());
  return h("details", {}, h("summary", {}, "More choices"), labelled("Number", count), windowsLabel,
    h("label", {}, borderline, " Borderline items, which are worth a mark"));
}

function recorder(send: (file: File) => Promise<void>, tell: (sentence: string | null) => void, store: Store): HTMLElement {
  const button = h("button", { type: "button" }, "Record");
  const level = h("meter", { min: 0, max: 1, value: 0, hidden: true, "aria-label": "Level of the microphone" });
  const time = h("span", { class: "fine" });
  let running: Recording | null = null;
  let starting = false;
  const finish = async () => {
    const recording = running;
    running = null;
    [button.textContent, level.hidden, time.textContent] = ["Record", true, ""];
    if (recording) await send(await recording.stop());
  };
  const press = async () => {
    if (starting) return;
    if (running) return finish();
    tell(null);
    starting = true;
    try {
      running = await record((seconds, loudest) => {
        level.value = loudest;
        time.textContent = clock(seconds);
      }, () => void finish().catch(fail));
      [button.textContent, level.hidden] = ["Stop and search", false];
      store.set({ says: "recording" });
    } finally {
      starting = false;
    }
  };
  const fail = (error: unknown) => tell(error instanceof Error ? error.message : String(error));
  button.addEventListener("click", () => void press().catch(fail));
  return h("div", { class: "recorder" }, button, level, time);
}

function drawExamples(list: HTMLElement, store: Store, asking: Asking): void {
  const { query } = store.get();
  const entry = (given: Given, sign: "like" | "unlike", at: number) => {
    const name = nameOf(given);
    const lost = "upload" in given && asking.lost.has(given.upload);
    const other = sign === "like" ? "unlike" : "like";
    const without = query[sign].filter((_, place) => place !== at);
    return h("li", { class: sign },
      h("span", { class: "sign" }, sign === "like" ? "+" : "−"), h("span", { class: "what" }, name.slice(0, 80)),
      lost ? h("strong", { class: "wrong" }, ` The server no longer has this file: drop or choose ${name.slice(0, 60)} again.`) : null,
      h("button", { type: "button", "aria-label": `${sign === "like" ? "Make a counterexample" : "Make an example"}: ${name.slice(0, 60)}`,
        onclick: () => store.set({ query: { ...query, [sign]: without, [other]: [...query[other], given] } }) }, "±"),
      h("button", { type: "button", "aria-label": `Remove ${name.slice(0, 60)}`, onclick: () => store.set({ query: { ...query, [sign]: without } }) }, "×"));
  };
  const all = [...query.like.map((given, at) => entry(given, "like", at)), ...query.unlike.map((given, at) => entry(given, "unlike", at))];
  const clear = all.length > 1 ? h("li", {}, h("button", { type: "button", onclick: () => store.set({ query: { ...emptyQuery(), filters: query.filters } }) }, "Remove all")) : null;
  fill(list, ...all, clear);
  list.hidden = !all.length;
}

/** A file may be dropped anywhere on the page. */
function takeDrops(place: HTMLElement, send: (file: File) => Promise<void>): void {
  const holds = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  window.addEventListener("dragover", (event) => {
    if (!holds(event)) return;
    event.preventDefault();
    place.classList.add("drop");
  });
  window.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) place.classList.remove("drop");
  });
  window.addEventListener("drop", (event) => {
    if (!holds(event)) return;
    event.preventDefault();
    place.classList.remove("drop");
    const [file] = event.dataTransfer?.files ?? [];
    if (file) void send(file);
  });
}
