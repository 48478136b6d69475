// The plane: the same points by their likeness, coloured by a column, a score or what they are; linked with the map.

import type { About } from "./api";
import { byColumn, byKind, byNumber, type Key, paintRamp, type Rgb } from "./colours";
import { add, fill, h, labelled } from "./dom";
import { Dots } from "./dots";
import { lay } from "./map";
import { extent, pairs, type Points, rowsWithin } from "./points";
import type { Store } from "./state";

const KIND = "";
const SCORE = "score";
const NEAR_PX = 9;
const STEP = 0.15;
const MOST_NAMES = 12;

export interface PlanePart { setColours: (colours: Uint8Array) => void; setMarks: (marks: Uint8Array, some: boolean) => void }

/** Fills the region of the plane; null where it cannot be drawn. */
export function mountPlane(place: HTMLElement, store: Store, points: Points, about: About): PlanePart | null {
  const places = pairs(points.x, points.y);
  const box = extent(places);
  const canvas = h("canvas", { tabindex: 0, role: "application", "aria-label": "Points by likeness; arrows move, plus and minus zoom" });
  const gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
  if (!about.plane || !box || !gl) {
    add(place, h("p", { class: "hint" }, gl ? "The index has no plane; type: earthtone index with its folder, then open the page again." : "The plane is not drawn: this browser has no WebGL 2."));
    return null;
  }
  const brush = h("button", { type: "button", "aria-pressed": "false" }, "Brush");
  const clear = h("button", { type: "button", onclick: () => store.set({ selected: null, says: "nothing selected" }) }, "Clear selection");
  const whole = h("button", { type: "button" }, "All points");
  const outline = h("div", { class: "outline", hidden: true });
  const frame = h("div", { class: "view" }, canvas, outline);
  add(place, h("div", { class: "bar", role: "group", "aria-label": "Plane tools" }, brush, clear, whole, colourBy(store, about)), frame);
  brush.addEventListener("click", () => brush.setAttribute("aria-pressed", String(brush.getAttribute("aria-pressed") !== "true")));

  const dots = new Dots(gl, places, points.rows);
  const full = Math.max(box[2] - box[0], box[3] - box[1], 1e-6) / 1.84;
  const view = { x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2, half: full };
  let dim = 0.85;
  let waiting = false;
  const scale = (): [number, number] => {
    const least = Math.min(canvas.width, canvas.height) || 1;
    return [least / canvas.width / view.half, least / canvas.height / view.half];
  };
  const paint = () => {
    waiting = false;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const size = (points.rows > 200_000 ? 2.5 : points.rows > 5_000 ? 4 : 6) * devicePixelRatio * Math.min(2, Math.max(1, Math.sqrt(full / view.half)));
    dots.draw("plane", "uniform vec2 middle;\nuniform vec2 scale;", "vec4((place - middle) * scale, 0.0, 1.0)", size, dim, (program) => {
      gl.uniform2f(gl.getUniformLocation(program, "middle"), view.x, view.y);
      gl.uniform2f(gl.getUniformLocation(program, "scale"), ...scale());
    });
  };
  const redraw = () => {
    if (!waiting) requestAnimationFrame(paint);
    waiting = true;
  };
  const toPlane = (x: number, y: number): [number, number] => {
    const [sx, sy] = scale();
    return [view.x + ((2 * x) / canvas.clientWidth - 1) / sx, view.y + (1 - (2 * y) / canvas.clientHeight) / sy];
  };
  const zoom = (factor: number, at: [number, number] = [view.x, view.y]) => {
    const half = Math.min(4 * full, Math.max(full / 5000, view.half * factor));
    const share = half / view.half;
    Object.assign(view, { x: at[0] + (view.x - at[0]) * share, y: at[1] + (view.y - at[1]) * share, half });
    redraw();
  };
  whole.addEventListener("click", () => {
    Object.assign(view, { x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2, half: full });
    redraw();
  });
  new ResizeObserver(() => {
    canvas.width = Math.max(1, Math.round(frame.clientWidth * devicePixelRatio));
    canvas.height = Math.max(1, Math.round(frame.clientHeight * devicePixelRatio));
    redraw();
  }).observe(frame);

  const at = (event: PointerEvent | WheelEvent): [number, number] => {
    const shown = canvas.getBoundingClientRect();
    return [event.clientX - shown.left, event.clientY - shown.top];
  };
  let [start, last]: [[number, number] | null, [number, number] | null] = [null, null];
  const brushes = () => brush.getAttribute("aria-pressed") === "true";
  canvas.addEventListener("pointerdown", (event) => {
    [start, last] = [at(event), at(event)];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!start || !last) return;
    const now = at(event);
    if (brushes()) lay(outline, start, now);
    else {
      const [before, after] = [toPlane(...last), toPlane(...now)];
      Object.assign(view, { x: view.x + before[0] - after[0], y: view.y + before[1] - after[1] });
      redraw();
    }
    last = now;
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!start) return;
    const [from, to] = [start, at(event)];
    [start, last] = [null, null];
    outline.hidden = true;
    const moved = Math.hypot(from[0] - to[0], from[1] - to[1]);
    const [one, other] = [toPlane(...from), toPlane(...to)];
    if (moved < 4) {
      const around = [toPlane(to[0] - NEAR_PX, to[1] + NEAR_PX), toPlane(to[0] + NEAR_PX, to[1] - NEAR_PX)] as const;
      const row = closest(places, [around[0][0], around[0][1], around[1][0], around[1][1]], other);
      if (row !== null) store.set({ row });
    } else if (brushes()) {
      const selected = rowsWithin(places, [Math.min(one[0], other[0]), Math.min(one[1], other[1]), Math.max(one[0], other[0]), Math.max(one[1], other[1])]);
      store.set({ selected, says: `${selected.length.toLocaleString("en")} selected` });
    }
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, toPlane(...at(event)));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const by: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const step = by[event.key];
    if (step) Object.assign(view, { x: view.x + step[0] * STEP * view.half, y: view.y + step[1] * STEP * view.half });
    else if (event.key === "+" || event.key === "=") zoom(1 / 1.3);
    else if (event.key === "-") zoom(1.3);
    else return;
    event.preventDefault();
    redraw();
  });
  return {
    setColours: (colours) => { dots.setColours(colours); redraw(); },
    setMarks: (marks, some) => { dots.setMarks(marks); dim = some ? 0.15 : 0.85; redraw(); },
  };
}

function closest(places: Float32Array, box: number[], [x, y]: [number, number]): number | null {
  let [best, least]: [number | null, number] = [null, Infinity];
  for (const row of rowsWithin(places, box)) {
    const away = Math.hypot(places[2 * row]! - x, places[2 * row + 1]! - y);
    if (away < least) [best, least] = [row, away];
  }
  return best;
}

function colourBy(store: Store, about: About): HTMLElement {
  const field = h("select", {}, h("option", { value: KIND }, "kind"), h("option", { value: SCORE }, "score of the search"),
    ...about.columns.filter((column) => column.name !== "modality").map((column) => h("option", { value: `column ${column.name}` }, column.name.slice(0, 60))));
  field.value = store.get().colour === null ? KIND : store.get().colour === SCORE ? SCORE : `column ${store.get().colour}`;
  field.addEventListener("change", () => store.set({ colour: field.value === KIND ? null : field.value === SCORE ? SCORE : field.value.slice(7) }));
  return labelled("Colour by", field);
}

/** The colours that the state asks for. Raises what the server says where a column does not come. */
export async function coloursOf(store: Store, points: Points, about: About): Promise<Key> {
  const { colour, scores } = store.get();
  if (colour === SCORE) return scores ? byNumber(scores) : { ...byKind(points.modality), names: [["search first: points are coloured by their scores then", [140, 140, 140]]] };
  const column = about.columns.find((each) => each.name === colour);
  return column ? byColumn(column, await points.column(column)) : byKind(points.modality);
}

/** A dot of a colour, beside what it means. */
export function swatch([red, green, blue]: Rgb): HTMLElement {
  const dot = h("span", { class: "swatch" });
  dot.style.backgroundColor = `rgb(${red} ${green} ${blue})`;
  return dot;
}

/** Tells what the colours of points mean. */
export function showKey(place: HTMLElement, { names, ends }: Key): void {
  if (ends) {
    const canvas = h("canvas", { width: 120, height: 10, "aria-hidden": "true" });
    paintRamp(canvas, "viridis");
    fill(place, h("span", {}, ends[0].toPrecision(3)), canvas, h("span", {}, ends[1].toPrecision(3)));
  } else {
    const shown = (names ?? []).slice(0, MOST_NAMES);
    const more = (names?.length ?? 0) - shown.length;
    fill(place, ...shown.map(([name, colour]) => h("span", {}, swatch(colour), name.slice(0, 60))), more > 0 ? h("span", {}, `and ${more} more, whose colours repeat`) : null);
  }
}
