// Boxes and lassos dragged over the map or the plane, with the pointer: what is drawn is handed on as a polygon in pixels.

import { add, h } from "./dom";

export type Spot = [number, number];
export type Shape = "box" | "lasso";

const LEAST_PX = 3;
const SVG = "http://www.w3.org/2000/svg";

/** The two buttons that say what a drag draws, one of them or none pressed. */
export function brushButtons(): { buttons: HTMLElement[]; shape: () => Shape | null } {
  let shape: Shape | null = null;
  const button = (name: string, what: Shape): HTMLButtonElement =>
    h("button", { type: "button", "aria-pressed": "false", title: `Drag to select points within a ${what}`, onclick: () => {
      shape = shape === what ? null : what;
      for (const [each, kind] of [[box, "box"], [lasso, "lasso"]] as const) each.setAttribute("aria-pressed", String(shape === kind));
    } }, name);
  const [box, lasso] = [button("Brush", "box"), button("Lasso", "lasso")];
  return { buttons: [box, lasso], shape: () => shape };
}

/** Lets shapes be drawn on `surface`, shown in `frame`, as long as `asked` tells one; `held` is told of begin and end. */
export function mountBrush(frame: HTMLElement, surface: HTMLElement, asked: () => Shape | null, done: (outline: Spot[]) => void, held: (on: boolean) => void = () => {}): void {
  const polygon = document.createElementNS(SVG, "polygon");
  const overlay = document.createElementNS(SVG, "svg");
  overlay.setAttribute("class", "outline");
  overlay.setAttribute("aria-hidden", "true");
  overlay.append(polygon);
  add(frame, overlay);
  let [shape, spots]: [Shape | null, Spot[]] = [null, []];
  const at = (event: PointerEvent): Spot => {
    const box = surface.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const end = (): Spot[] => {
    const outline = outlineOf(shape, spots);
    [shape, spots] = [null, []];
    polygon.removeAttribute("points");
    held(false);
    return outline;
  };
  surface.addEventListener("pointerdown", (event) => {
    if (shape) end(); // a second finger: no drawing
    else if (event.button === 0 && event.isPrimary && (shape = asked())) {
      spots = [at(event)];
      held(true);
      surface.setPointerCapture(event.pointerId);
    }
  }, true);
  surface.addEventListener("pointermove", (event) => {
    if (!shape) return;
    const [spot, last] = [at(event), spots.at(-1)!];
    if (shape === "box") spots = [spots[0]!, spot];
    else if (Math.hypot(spot[0] - last[0], spot[1] - last[1]) >= LEAST_PX) spots.push(spot);
    polygon.setAttribute("points", outlineOf(shape, spots).join(" "));
  });
  surface.addEventListener("pointerup", (event) => {
    if (!shape) return;
    if (shape === "box") spots = [spots[0]!, at(event)];
    const outline = end();
    if (isDrawn(outline)) done(outline);
  });
  surface.addEventListener("pointercancel", () => shape && end());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && shape) end();
  });
}

/** The corners of what was drawn. */
export function outlineOf(shape: Shape | null, spots: Spot[]): Spot[] {
  if (shape !== "box") return spots;
  const [[x0, y0], [x1, y1]] = [spots[0]!, spots.at(-1)!];
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

/** Whether a shape is wide and high enough to be meant, not a click. */
function isDrawn(outline: Spot[]): boolean {
  const spread = (part: 0 | 1) => Math.max(...outline.map((spot) => spot[part])) - Math.min(...outline.map((spot) => spot[part]));
  return outline.length >= 3 && spread(0) >= LEAST_PX && spread(1) >= LEAST_PX;
}
