// The hits: what was found, how well, where, when, under which licence; heard, judged, exported, shared.

import { type Answer, type Hit, post, Refused } from "./api";
import { type Asking, asks, bodyOf, placeAsked } from "./asking";
import { comparison } from "./compare";
import { add, fill, h, labelled } from "./dom";
import { Marks } from "./marks";
import type { Player } from "./player";
import { kmBetween } from "./points";
import { copyLink, nameOf, titleOf } from "./share";
import type { Given, State, Store } from "./state";
import { distanceText, percentileText, placeText, scoreText, timeText } from "./text";

const FIRST = 50; // hits that are shown before more are asked for

/** Fills the region of the hits, and keeps it as the state tells. */
export function mountHits(place: HTMLElement, store: Store, asking: Asking, player: Player): void {
  const marks = new Marks(store.get().about?.who ?? "");
  const busy = h("p", { class: "busy", hidden: true }, "Searching…");
  const refused = h("p", { class: "wrong", role: "alert", hidden: true });
  const body = h("div", { class: "hits" });
  let shown = FIRST;
  add(place, h("h2", { tabindex: -1 }, "Hits"), busy, refused, body);

  const say = (says: string) => store.set({ says });
  const told = (error: unknown) => {
    refused.textContent = error instanceof Error ? error.message : String(error);
    refused.hidden = false;
  };
  const attempt = (work: () => Promise<void>) => () => void work().catch(told);
  const judge = (hit: Hit, verdict: "right" | "wrong") =>
    attempt(async () => {
      await marks.say(hit.key, verdict);
      say(marks.of(hit.key) ? `marked ${verdict}: ${hit.id.slice(0, 60)}` : `mark taken back: ${hit.id.slice(0, 60)}`);
      draw();
    });
  const context: Context = { store, player, marks, judge };

  const draw = () => {
    const state = store.get();
    const { answer } = state;
    const focus = focusOf(body);
    if (!answer) {
      const plain = () => store.set({ query: { ...store.get().query, marks: false } });
      fill(body, asks(state.query)
        ? state.query.marks ? h("button", { type: "button", onclick: plain }, "Rank without marks") : null
        : h("p", { class: "hint" }, "Search by a sound, a picture or a place, or click the map: what fits best is listed here."));
      return;
    }
    const cut = answer.hits.slice(0, shown);
    const list = h("ol", { class: "hit-list", "aria-label": "Hits" }, ...cut.map((hit) => hitEntry(hit, answer, context, state)));
    const more = answer.hits.length > cut.length
      ? h("button", { type: "button", onclick: () => { shown += FIRST; draw(); } }, `Show ${Math.min(FIRST, answer.hits.length - cut.length)} more`) : null;
    fill(
      body, summary(answer, state), tools(state), judging(state),
      state.otherAnswer ? comparison(answer, state.otherAnswer, list, state, store) : list, more,
    );
    restore(body, focus);
  };

  const tools = (state: State) => {
    const save = (format: string, file: string) => attempt(async () => {
      say(`${file} is being made`);
      await exported(state, format, file);
      say(`${file} is saved`);
    });
    const link = attempt(async () => say((await copyLink()) ? "link copied" : "the browser did not let the link be copied; copy the page's address"));
    return h("div", { class: "tools", role: "group", "aria-label": "What to do with the hits" },
      h("button", { type: "button", onclick: save("csv", "hits.csv") }, "CSV"),
      h("button", { type: "button", onclick: save("geojson", "hits.geojson") }, "GeoJSON"),
      h("button", { type: "button", onclick: save("audio", "hits-audio.m3u8") }, "Audio list"),
      state.other
        ? h("button", { type: "button", onclick: () => store.set({ other: null, otherAnswer: null, colour: state.colour === "difference" ? "score" : state.colour }) }, "End comparison")
        : h("button", { type: "button", onclick: () => { store.set({ other: state.query }); say("kept as B; the next query stands beside it as A"); } }, "Compare"),
      h("button", { type: "button", title: "Bring all hits into view", onclick: () => store.set({ seek: { place: null, onMap: store.get().hits, onPlane: store.get().hits, always: true } }) }, "Show on map"),
      h("button", { type: "button", onclick: link }, "Copy link"));
  };

  const judging = (state: State) => {
    if (!state.about?.marks.writable) return h("p", { class: "fine" }, "Marks cannot be written here.");
    const who = h("input", { type: "text", value: marks.who, autocomplete: "name", maxlength: 80 });
    who.addEventListener("change", () => marks.setWho(who.value));
    const ranks = h("input", { type: "checkbox", id: "rank-with-marks" });
    ranks.checked = state.query.marks;
    ranks.addEventListener("change", () => store.set({ query: { ...store.get().query, marks: ranks.checked } }));
    const undo = attempt(async () => {
      await marks.undo();
      say("the last mark is taken back");
      draw();
    });
    const again = state.query.marks && marks.count ? h("button", { type: "button", onclick: () => asking.again() }, "Rank again") : null;
    return h("div", { class: "judging", role: "group", "aria-label": "Marks" },
      h("span", {}, `${marks.count} marked`),
      h("button", { type: "button", disabled: !marks.canUndo, onclick: undo }, "Undo"),
      h("label", { for: "rank-with-marks" }, ranks, " Rank with marks"), again, labelled("Marked by", who));
  };

  asking.onchange((searching, sentence) => {
    busy.hidden = !searching;
    place.setAttribute("aria-busy", String(searching));
    refused.hidden = sentence === null;
    refused.textContent = sentence ?? "";
  });
  player.onchange(() => markPlaying(body, player));
  store.on((state, before) => {
    if (state.answer !== before.answer && state.answer) {
      shown = FIRST;
      const name = state.answer.query;
      if (state.about?.marks.writable) void marks.turnTo(name).then(draw, told);
    }
    if (state.about && !before.about && !marks.who) marks.setWho(state.about.who);
    if (state.answer !== before.answer || state.otherAnswer !== before.otherAnswer || state.other !== before.other || state.about !== before.about) draw();
    if (state.row !== before.row) markOpen(body, state.row);
  });
  draw();
}

interface Context {
  store: Store; player: Player; marks: Marks; judge: (hit: Hit, verdict: "right" | "wrong") => () => void;
}

const WHAT: Record<string, string> = { image: "pictures", audio: "sounds" };

function summary(answer: Answer, state: State): HTMLElement {
  const what = WHAT[answer.find ?? ""] ?? "pictures and sounds";
  const of = answer.searched ? ` of ${answer.searched.toLocaleString("en")} ${what}` : ` ${what}`;
  const borderline = state.query.borderline ? ", nearest to the target score first" : ", best first";
  const report = answer.marks?.says ?? [];
  return h("div", { class: "summary" },
    h("p", {}, h("strong", {}, titleOf(state.query)), `: ${answer.hits.length}${of}${borderline}.`),
    h("p", { class: "fine" }, `Score: ${answer.score_is || state.about?.score_is || ""}. Percentile: per cent of the other searched items that rank behind.`),
    answer.chance ? h("p", { class: "fine" }, answer.chance) : null,
    ...[...report, ...answer.notes].map((note) => h("p", { class: "note" }, note)));
}

function hitEntry(hit: Hit, answer: Answer, { store, player, marks, judge }: Context, state: State): HTMLElement {
  const name = hit.id.slice(0, 80);
  const id = `hit-${hit.row}`;
  const look = h("button", { type: "button", class: "name", id, "data-row": hit.row, "aria-current": state.row === hit.row ? "true" : null,
    title: hit.id.slice(0, 300), onclick: () => store.set({ row: hit.row }) }, name);
  const like: Given = { row: hit.row, name: hit.key.slice(0, 120), kind: hit.modality === "audio" ? "sound" : "image" };
  const verdict = state.about?.marks.writable ? marks.of(hit.key) ?? (hit.verdict === "unsure" ? null : hit.verdict ?? null) : null;
  const thumb = (word: "right" | "wrong", label: string) =>
    h("button", { type: "button", class: `thumb says-${word}`, "data-key": `${word}-${hit.row}`, "aria-pressed": String(verdict === word), "aria-describedby": id, onclick: judge(hit, word) }, label);
  const meter = h("span", { class: "meter", "aria-hidden": "true" }, h("span", {}));
  (meter.firstElementChild as HTMLElement).style.width = `${Math.max(0, Math.min(100, hit.percentile))}%`;
  return h("li", { class: "hit", "data-row": hit.row },
    picture(hit),
    h("div", { class: "facts" },
      h("div", { class: "head-line" }, h("span", { class: "rank" }, `${hit.rank}.`), look),
      h("div", { class: "score-line" }, h("span", { class: "score" }, `score ${scoreText(hit.score)}`),
        hit.spread == null ? null : h("span", { class: "spread", title: "spread over the windows of the sound that was asked with" }, ` ± ${scoreText(hit.spread)}`),
        h("span", {}, ` · percentile ${percentileText(hit.percentile)}`), meter),
      h("div", { class: "fine" }, where(hit, state)),
      h("div", { class: "fine" }, credit(hit)),
      hit.missing ? h("div", { class: "note" }, hit.missing) : null,
      h("div", { class: "buttons" },
        hit.sound ? h("button", { type: "button", class: "play", "data-plays": hit.row, "aria-describedby": id, onclick: () => listen(hit, store, player) }, "Play") : null,
        state.about?.marks.writable ? thumb("right", "Right") : null,
        state.about?.marks.writable ? thumb("wrong", "Wrong") : null,
        h("button", { type: "button", "data-key": `like-${hit.row}`, "aria-describedby": id, onclick: () => moreLike(like, store) }, "More like this"))));
}

function picture(hit: Hit): HTMLElement {
  if (!hit.picture) return h("span", { class: "thumbnail sound", "aria-hidden": "true" }, hit.modality === "audio" ? "♪" : "–");
  return h("img", { class: "thumbnail", src: `${hit.picture}?size=96`, alt: "", loading: "lazy", width: 64, height: 64 });
}

/** How far an item is from the place that was asked for; null where none was, or the item has none. */
export function distanceOf({ longitude, latitude }: { longitude: number | null; latitude: number | null }, { query }: State): string | null {
  const place = placeAsked(query);
  return place && longitude !== null && latitude !== null ? `${distanceText(kmBetween(place, [longitude, latitude]))} away` : null;
}

function where(hit: Hit, state: State): string {
  const parts = [hit.longitude !== null && hit.latitude !== null ? placeText(hit.longitude, hit.latitude) : "no place"];
  const away = distanceOf(hit, state);
  if (away) parts.unshift(away);
  if (hit.datetime) parts.push(timeText(hit.datetime));
  if (hit.start_s !== null) parts.push(`from ${+hit.start_s.toFixed(1)} s`);
  if (hit.seconds !== null) parts.push(`${+hit.seconds.toFixed(1)} s long`);
  return parts.join(" · ");
}

/** Under which licence, by whom, from where. */
export function credit(item: { license: string | null; attribution: string | null; source: string | null }): string {
  return [item.license ?? "licence not known", item.attribution ?? "author not known", item.source].filter(Boolean).join(" · ");
}

/** Asks for what is like one item: what is of the other kind comes first, as for any query. */
function moreLike(like: Given, store: Store): void {
  const { query } = store.get();
  store.set({ query: { ...query, like: [like], unlike: [], find: like.kind === "sound" ? "audio" : "image" }, says: `more like ${nameOf(like).slice(0, 80)}` });
}

function listen(hit: Hit, store: Store, player: Player): void {
  if (player.row === hit.row && player.playing) {
    player.pause();
    return;
  }
  void player.open(hit, true);
  store.set({ row: hit.row });
}

function markPlaying(body: HTMLElement, player: Player): void {
  for (const button of body.querySelectorAll<HTMLElement>("[data-plays]")) {
    button.textContent = player.playing && Number(button.dataset.plays) === player.row ? "Pause" : "Play";
  }
}

function markOpen(body: HTMLElement, row: number | null): void {
  for (const name of body.querySelectorAll<HTMLElement>(".name[data-row]")) {
    if (Number(name.dataset.row) === row) {
      name.setAttribute("aria-current", "true");
      name.closest("li")?.scrollIntoView({ block: "nearest" });
    } else name.removeAttribute("aria-current");
  }
}

/** Goes to the hit after or before the open one; a sound that plays gives way to the next. */
export function stepHit(by: 1 | -1, store: Store, player: Player): void {
  const { answer, row } = store.get();
  if (!answer?.hits.length) return;
  const now = answer.hits.findIndex((hit) => hit.row === row);
  const at = now < 0 ? (by > 0 ? 0 : answer.hits.length - 1) : Math.max(0, Math.min(answer.hits.length - 1, now + by));
  const hit = answer.hits[at]!;
  if (player.playing && hit.sound) void player.open(hit, true);
  store.set({ row: hit.row, says: `hit ${hit.rank}, ${hit.id.slice(0, 60)}, score ${scoreText(hit.score)}` });
  document.getElementById(`hit-${hit.row}`)?.focus();
}

/** Which control had the focus, so that it has it again once the list is drawn anew. */
function focusOf(body: HTMLElement): string | null {
  const at = document.activeElement;
  if (!(at instanceof HTMLElement) || !body.contains(at)) return null;
  if (at.dataset.key) return `[data-key="${at.dataset.key}"]`;
  if (at.dataset.plays) return `[data-plays="${at.dataset.plays}"]`;
  return at.id ? `#${CSS.escape(at.id)}` : null;
}

function restore(body: HTMLElement, focus: string | null): void {
  if (focus) body.querySelector<HTMLElement>(focus)?.focus();
}

/** Saves the hits as a file that the server makes. */
async function exported(state: State, format: string, file: string): Promise<void> {
  const answer = await post(`api/export?format=${format}`, bodyOf(state.query, state.query.marks ? state.answer?.query ?? null : null));
  const blob = await answer.blob();
  if (!blob.size) throw new Refused("an empty file came; try again", 500);
  const address = URL.createObjectURL(blob);
  h("a", { href: address, download: nameIn(answer) ?? file }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function nameIn(answer: Response): string | null {
  return /filename="?([\w.-]{1,80})"?/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? null;
}
