// Colours of points and of layers: palettes for kinds, ramps for numbers. All are told apart without red and green.

import type { Column, Numbers } from "./api";
import { NONE } from "./points";
import { dayText, numberText } from "./text";

export type Rgb = [number, number, number];

/** Okabe and Ito's colours, then lighter and darker ones. */
const PALETTE: Rgb[] = [
  [0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [213, 94, 0], [240, 228, 66], [120, 94, 240], [148, 103, 58],
  [127, 127, 127], [23, 190, 207], [188, 189, 34],
];
export const colourOfClass = (code: number): Rgb => PALETTE[((code % PALETTE.length) + PALETTE.length) % PALETTE.length]!;
const GREY: Rgb = [140, 140, 140];

const STOPS: Record<string, string[]> = {
  viridis: ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"],
  magma: ["000004", "1d1147", "51127c", "832681", "b73779", "e75263", "fc8961", "fec488", "fcfdbf"],
  cividis: ["00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "fee838"],
  "blue to red": ["2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7", "fddbc7", "f4a582", "d6604d", "b2182b"],
};
export const RAMPS = Object.keys(STOPS);

/** The 256 colours of a ramp, three bytes each. */
export function ramp(name: string): Uint8Array {
  const stops = (STOPS[name] ?? STOPS.viridis!).map((text) => [0, 2, 4].map((at) => Number.parseInt(text.slice(at, at + 2), 16)));
  const found = new Uint8Array(768);
  for (let step = 0; step < 256; step += 1) {
    const at = (step / 255) * (stops.length - 1);
    const [below, share] = [Math.min(stops.length - 2, Math.floor(at)), at - Math.min(stops.length - 2, Math.floor(at))];
    for (let part = 0; part < 3; part += 1) found[3 * step + part] = stops[below]![part]! * (1 - share) + stops[below + 1]![part]! * share;
  }
  return found;
}

export interface Key {
  colours: Uint8Array;
  /** What colours mean: names, or a ramp between two ends. */
  names?: [string, Rgb][];
  ends?: [string, string];
  /** Which ramp; viridis otherwise. */
  ramp?: string;
  /** Where the names are kinds: whether each is drawn as a square. */
  shapes?: boolean[];
}

/** Colours (3 bytes a row) of what rows are: images and sounds. */
export function byKind(modality: Uint8Array): Key {
  const colours = new Uint8Array(3 * modality.length);
  for (let row = 0; row < modality.length; row += 1) colours.set(PALETTE[modality[row]! ? 1 : 0]!, 3 * row);
  return { colours, names: [["pictures", PALETTE[0]!], ["sounds", PALETTE[1]!]], shapes: [true, false] };
}

/** Colours of a column's values; grey where there is none. */
export function byColumn(column: Column, values: Numbers): Key {
  if (column.kind !== "category") return byNumber(values, column.kind === "time" ? dayText : numberText);
  const colours = new Uint8Array(3 * values.length);
  for (let row = 0; row < values.length; row += 1) {
    const code = values[row]!;
    colours.set(code === NONE ? GREY : colourOfClass(code), 3 * row);
  }
  const names = (column.values ?? []).map((name, code): [string, Rgb] => [name, colourOfClass(code)]);
  return { colours, names };
}

/** Colours of numbers from the least to the greatest. */
export function byNumber(values: ArrayLike<number>, text: (value: number) => string): Key {
  const [low, high] = rangeOf(values);
  return low <= high ? { colours: ramped(values, low, high, "viridis"), ends: [text(low), text(high)] } : noValues(values.length);
}

/** Colours of what one query's scores (A) are above another's (B): blue where B's is higher, red where A's is. */
export function byDifference(one: Float32Array, other: Float32Array, text: (value: number) => string): Key {
  const values = one.map((score, row) => score - other[row]!);
  const [low, high] = rangeOf(values);
  if (low > high) return noValues(values.length, "A and B search different items: none has both scores");
  const most = Math.max(-low, high);
  const name = "blue to red";
  return { colours: ramped(values, -most, most, name), ends: [`B +${text(most)}`, `A +${text(most)}`], ramp: name };
}

const noValues = (rows: number, says = "no values"): Key => ({ colours: new Uint8Array(3 * rows).fill(GREY[0]), names: [[says, GREY]] });

/** The least and the greatest of those that are numbers. */
function rangeOf(values: ArrayLike<number>): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (let row = 0; row < values.length; row += 1) {
    const value = values[row]!;
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

function ramped(values: ArrayLike<number>, low: number, high: number, name: string): Uint8Array {
  const [steps, colours] = [ramp(name), new Uint8Array(3 * values.length)];
  for (let row = 0; row < values.length; row += 1) {
    const value = values[row]!;
    const step = high > low ? Math.round((255 * (value - low)) / (high - low)) : 128;
    if (Number.isFinite(value)) colours.set(steps.subarray(3 * step, 3 * step + 3), 3 * row);
    else colours.set(GREY, 3 * row);
  }
  return colours;
}

/** Draws a ramp from left to right. */
export function paintRamp(canvas: HTMLCanvasElement, name: string): void {
  const context = canvas.getContext("2d");
  const steps = ramp(name);
  for (let step = 0; context && step < 256; step += 1) {
    context.fillStyle = `rgb(${steps[3 * step]} ${steps[3 * step + 1]} ${steps[3 * step + 2]})`;
    context.fillRect((step * canvas.width) / 256, 0, canvas.width / 256 + 1, canvas.height);
  }
}
