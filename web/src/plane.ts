// The plane: the same points by their likeness, coloured by a column, a score or what they are; linked with the map.

import type { About } from "./api";
import { brushButtons, mountBrush, type Spot } from "./brush";
import { byColumn, byDifference, byKind, byNumber, type Key, paintRamp, type Rgb } from "./colours";
import { add, fill, h, labelled } from "./dom";
import { Dots } from "./dots";
import { extent, pairs, type Points, rowsInside } from "./points";
import { plainRing } from "./share";
import type { Store } from "./state";
import { scoreText } from "./text";

const KIND = "";
const SCORE = "score";
const DIFFERENCE = "difference";
const MOVED_MS = 300;
const NEAR_PX = 9;
const CLICK_PX = 4;
const STEP = 0.15;
const ZOOM = 1.3;
const MOST_NAMES = 12;
const ROOM = 1.15; // around what is to be seen
const MOST_MAGNIFIED = 20;

export interface PlanePart {
  setColours: (colours: Uint8Array) => void;
  setMarks: (marks: Uint8Array, some: boolean) => void;
  /** Middle and half of the lesser side; null where all is seen. */
  view: () => [number, number, number] | null;
  onMoved: (fn: () => void) => void;
}

/** Fills the region of the plane; null where it cannot be drawn. */
export function mountPlane(place: HTMLElement, store: Store, points: Points, about: About, seen: [number, number, number] | null): PlanePart | null {
  const places = pairs(points.x, points.y);
  const box = extent(places);
  const canvas = h("canvas", { tabindex: 0, role: "application", "aria-label": "Points by likeness; arrows move, plus and minus zoom" });
  const gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
  if (!about.plane || !box || !gl) {
    add(place, h("p", { class: "hint" }, gl ? "The index has no plane; type: earthtone index with its folder, then open the page again." : "The plane is not drawn: this browser has no WebGL 2."));
    return null;
  }
  const button = (name: string, title: string, act: () => void) => h("button", { type: "button", title, onclick: act }, name);
  const brush = brushButtons();
  const frame = h("div", { class: "view" }, canvas);
  const view = new Window(canvas, box);
  if (seen) view.see(...seen);
  const select = (outline: Spot[]) => {
    const ring = plainRing(outline.map((spot) => view.place(...spot)));
    const selected = rowsInside(places, ring);
    store.set({ selected, outline: { on: "plane", ring }, says: `${selected.length.toLocaleString("en")} selected` });
  };
  add(place, h("div", { class: "bar", role: "group", "aria-label": "Plane tools" }, ...brush.buttons,
    button("Select view", "Select the points that the plane shows", () => select([[0, 0], [canvas.clientWidth, 0], [canvas.clientWidth, canvas.clientHeight], [0, canvas.clientHeight]])),
    button("Clear selection", "Select nothing", () => store.set({ selected: null, outline: null, here: [], says: "nothing selected" })),
    h("button", { type: "button", "aria-label": "Zoom in on the plane", onclick: () => view.zoom(1 / ZOOM) }, "+"),
    h("button", { type: "button", "aria-label": "Zoom out of the plane", onclick: () => view.zoom(ZOOM) }, "−"),
    button("All points", "Show all points", () => view.whole()), colourBy(store, about)), frame);

  let [dots, dim] = [new Dots(gl, places, points.modality), 0.85];
  let [colours, marks]: [Uint8Array | null, Uint8Array | null] = [null, null]; // kept for a browser that loses them
  const size = () => (points.rows > 200_000 ? 2.5 : points.rows > 5_000 ? 4 : 6) * devicePixelRatio * Math.min(2, Math.max(1, Math.sqrt(view.magnification())));
  view.paint = () => {
    if (gl.isContextLost()) return;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    dots.draw("plane", "uniform vec2 middle;\nuniform vec2 scale;", "vec4((place - middle) * scale, 0.0, 1.0)", size(), dim, (program) => {
      gl.uniform2f(gl.getUniformLocation(program, "middle"), view.x, view.y);
      gl.uniform2f(gl.getUniformLocation(program, "scale"), ...view.scale());
    });
  };
  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  canvas.addEventListener("webglcontextrestored", () => {
    dots = new Dots(gl, places, points.modality);
    if (colours) dots.setColours(colours);
    if (marks) dots.setMarks(marks);
    view.redraw();
  });
  new ResizeObserver(() => {
    canvas.width = Math.max(1, Math.round(frame.clientWidth * devicePixelRatio));
    canvas.height = Math.max(1, Math.round(frame.clientHeight * devicePixelRatio));
    view.redraw();
  }).observe(frame);
  mountBrush(frame, canvas, brush.shape, select);
  moves(canvas, view, () => brush.shape() !== null, (x, y) => {
    const near = rowsAround(places, view, x, y);
    if (near.length) store.set({ row: near[0]!, here: near.length > 1 ? near : [] });
  });
  store.on(({ seek }, before) => {
    if (seek && seek !== before.seek) view.show(seek.onPlane.map((row): Spot => [places[2 * row]!, places[2 * row + 1]!]), seek.always);
  });
  return {
    view: () => view.told(),
    onMoved: (fn) => { view.moved = fn; },
    setColours: (given) => { colours = given; dots.setColours(given); view.redraw(); },
    setMarks: (given, some) => { marks = given; dots.setMarks(given); dim = some ? 0.15 : 0.85; view.redraw(); },
  };
}

/** The part of the plane that is seen: its middle, and half of its lesser side. */
class Window {
  x = 0;
  y = 0;
  paint: () => void = () => {};
  moved: () => void = () => {};
  private half = 1;
  private waiting = false;
  private resting: ReturnType<typeof setTimeout> | undefined;
  private readonly full: number;

  constructor(private readonly canvas: HTMLCanvasElement, private readonly box: [number, number, number, number]) {
    this.full = Math.max(box[2] - box[0], box[3] - box[1], 1e-6) / 1.84;
    this.whole();
  }

  whole(): void {
    this.see((this.box[0] + this.box[2]) / 2, (this.box[1] + this.box[3]) / 2, this.full);
  }

  see(x: number, y: number, half: number = this.half): void {
    [this.x, this.y, this.half] = [x, y, Math.min(4 * this.full, Math.max(this.full / 5000, half))];
    this.redraw();
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.moved(), MOVED_MS);
  }

  /** Middle and half of the lesser side, as a link tells them; null where all is seen. */
  told(): [number, number, number] | null {
    const whole = this.half === this.full && this.x === (this.box[0] + this.box[2]) / 2 && this.y === (this.box[1] + this.box[3]) / 2;
    return whole ? null : [+this.x.toPrecision(6), +this.y.toPrecision(6), +this.half.toPrecision(6)];
  }

  /** Brings places into view; where all are seen already only if `always`. */
  show(places: Spot[], always: boolean): void {
    const box = extent(places.flat());
    const [sx, sy] = this.scale();
    const isSeen = ([x, y]: Spot) => Math.abs(x - this.x) * sx <= 1 && Math.abs(y - this.y) * sy <= 1;
    if (!box || (!always && places.filter(([x]) => Number.isFinite(x)).every(isSeen))) return;
    const half = Math.max(((box[2] - box[0]) / 2) * sx, ((box[3] - box[1]) / 2) * sy) * this.half * ROOM;
    this.see((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, Math.min(this.full, Math.max(half, this.full / MOST_MAGNIFIED)));
  }

  /** Zooms by a factor about a place, which stays where it is. */
  zoom(factor: number, [x, y]: [number, number] = [this.x, this.y]): void {
    const before = this.half;
    this.see(this.x, this.y, before * factor);
    const share = this.half / before;
    this.see(x + (this.x - x) * share, y + (this.y - y) * share);
  }

  step(right: number, up: number): void {
    this.see(this.x + right * STEP * this.half, this.y + up * STEP * this.half);
  }

  magnification(): number {
    return this.full / this.half;
  }

  scale(): [number, number] {
    const { width, height } = this.canvas;
    const least = Math.min(width, height) || 1;
    return [least / width / this.half, least / height / this.half];
  }

  /** What lies at a position in pixels. */
  place(x: number, y: number): [number, number] {
    const [sx, sy] = this.scale();
    return [this.x + ((2 * x) / this.canvas.clientWidth - 1) / sx, this.y + (1 - (2 * y) / this.canvas.clientHeight) / sy];
  }

  redraw(): void {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }
}

/** Drags, pinches, turns of the wheel and keys that move the window; clicks are handed on. */
function moves(canvas: HTMLCanvasElement, view: Window, brushes: () => boolean, click: (x: number, y: number) => void): void {
  const held = new Map<number, Spot>();
  let moved = 0;
  const at = (event: MouseEvent): Spot => {
    const shown = canvas.getBoundingClientRect();
    return [event.clientX - shown.left, event.clientY - shown.top];
  };
  const middle = (): Spot => {
    const spots = [...held.values()];
    return [spots.reduce((sum, [x]) => sum + x, 0) / spots.length, spots.reduce((sum, [, y]) => sum + y, 0) / spots.length];
  };
  const spread = (): number => {
    const [one, other] = [...held.values()];
    return one && other ? Math.hypot(one[0] - other[0], one[1] - other[1]) : 0;
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (brushes() || event.button !== 0) return;
    if (!held.size) moved = 0;
    held.set(event.pointerId, at(event));
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = held.get(event.pointerId);
    if (!last) return;
    const [before, wide] = [view.place(...middle()), spread()];
    const now = at(event);
    moved += Math.hypot(now[0] - last[0], now[1] - last[1]);
    held.set(event.pointerId, now);
    const after = view.place(...middle());
    view.see(view.x + before[0] - after[0], view.y + before[1] - after[1]);
    if (wide > 0 && spread() > 0) view.zoom(wide / spread(), view.place(...middle()));
  });
  const released = (event: PointerEvent) => {
    if (held.delete(event.pointerId) && event.type === "pointerup" && !held.size && moved < CLICK_PX) click(...at(event));
  };
  canvas.addEventListener("pointerup", released);
  canvas.addEventListener("pointercancel", released);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    view.zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, view.place(...at(event)));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const by: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const step = by[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (step) view.step(...step);
    else if (event.key === "+" || event.key === "=") view.zoom(1 / ZOOM);
    else if (event.key === "-") view.zoom(ZOOM);
    else return;
    event.preventDefault();
  });
}

/** The row drawn nearest to a position within a few pixels, and those that lie at the same place as it. */
function rowsAround(places: Float32Array, view: Window, x: number, y: number): number[] {
  const square = ([[-1, -1], [1, -1], [1, 1], [-1, 1]] as const).map(([right, down]) => view.place(x + right * NEAR_PX, y + down * NEAR_PX));
  const [east, north] = view.place(x, y);
  const away = (row: number) => Math.hypot(places[2 * row]! - east, places[2 * row + 1]! - north);
  const rows = rowsInside(places, square);
  let best: number | null = null;
  for (const row of rows) if (best === null || away(row) < away(best)) best = row;
  if (best === null) return [];
  const first = best;
  const same = (row: number) => places[2 * row] === places[2 * first] && places[2 * row + 1] === places[2 * first + 1];
  return [first, ...[...rows].filter((row) => row !== first && same(row))];
}

function colourBy(store: Store, about: About): HTMLElement {
  const difference = h("option", { value: DIFFERENCE }, "score: A minus B");
  const field = h("select", {}, h("option", { value: KIND }, "kind"), h("option", { value: SCORE }, "score of the search"), difference,
    ...about.columns.filter((column) => column.name !== "modality").map((column) => h("option", { value: `column ${column.name}` }, column.name.slice(0, 60))));
  const show = () => {
    const { colour, other } = store.get();
    difference.disabled = difference.hidden = other === null;
    field.value = colour ?? KIND;
    if (field.selectedIndex < 0) field.value = KIND; // a link may name a column that is not there
  };
  show();
  store.on((state, before) => {
    if (state.colour !== before.colour || state.other !== before.other) show();
  });
  field.addEventListener("change", () => store.set({ colour: field.value || null }));
  return labelled("Colour by", field);
}

/** The colours that the state asks for. Raises what the server says where a column does not come. */
export async function coloursOf(store: Store, points: Points, about: About): Promise<Key> {
  const { colour, scores, otherScores } = store.get();
  if (colour === DIFFERENCE) return scores && otherScores ? byDifference(scores, otherScores, scoreText) : { ...byKind(points.modality), names: [["compare two searches first", [140, 140, 140]]] };
  if (colour === SCORE) return scores ? byNumber(scores, scoreText) : { ...byKind(points.modality), names: [["search first: points are coloured by their scores then", [140, 140, 140]]] };
  const column = about.columns.find((each) => `column ${each.name}` === colour);
  return column ? byColumn(column, await points.column(column)) : byKind(points.modality);
}

/** A dot of a colour, or a square, beside what it means. */
export function swatch([red, green, blue]: Rgb, square = false): HTMLElement {
  const dot = h("span", { class: square ? "swatch square" : "swatch" });
  dot.style.backgroundColor = `rgb(${red} ${green} ${blue})`;
  return dot;
}

/** Tells what the colours of points mean. */
export function showKey(place: HTMLElement, { names, ends, shapes, ramp }: Key): void {
  const kinds = shapes ? null : h("span", { class: "fine" }, "squares: pictures, dots: sounds; grey: none");
  if (ends) {
    const canvas = h("canvas", { width: 120, height: 10, "aria-hidden": "true" });
    paintRamp(canvas, ramp ?? "viridis");
    fill(place, h("span", {}, ends[0]), canvas, h("span", {}, ends[1]), kinds);
  } else {
    const shown = (names ?? []).slice(0, MOST_NAMES);
    const more = (names?.length ?? 0) - shown.length;
    fill(place, ...shown.map(([name, colour], number) => h("span", {}, swatch(colour, shapes?.[number]), name.slice(0, 60))), more > 0 ? h("span", {}, `and ${more} more, whose colours repeat`) : null, kinds);
  }
}
