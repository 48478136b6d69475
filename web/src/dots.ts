// Points drawn by the graphics processor straight from arrays: the same way on the map and on the plane. Pictures are
// squares, sounds are smaller discs above them, so that both are seen where they lie at one place; marked ones lie on top.

export const SELECTED = 1;
export const HIT = 2;
export const OPEN = 3;

const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 v_colour;
flat in uint v_mark;
flat in uint v_picture;
out vec4 colour;
void main() {
  vec2 from = abs(gl_PointCoord - 0.5) * 2.0;
  float away = v_picture == 1u ? max(from.x, from.y) : length(from);
  if (away > 1.0) discard;
  vec3 plain = v_colour.rgb;
  if (v_mark >= 2u && away > 0.85) plain = vec3(1.0); // a light rim, then a dark ring: seen on light and on dark ground
  else if (v_mark >= 2u && away > 0.58) plain = v_mark == 3u ? vec3(0.82, 0.1, 0.1) : vec3(0.05);
  colour = vec4(plain * v_colour.a, v_colour.a);
}`;

/** The vertex shader around an expression of where a point lies, of "place" and what float32 leaves of it, "rest". */
const vertex = (before: string, position: string) => `#version 300 es
${before}
in vec2 place;
in vec2 rest;
in vec3 tint;
in uint mark;
uniform float size;
uniform float dim;
uniform int pictures;
uniform bool marked;
out vec4 v_colour;
flat out uint v_mark;
flat out uint v_picture;
void main() {
  gl_Position = ${position};
  v_picture = gl_VertexID < pictures ? 1u : 0u;
  v_mark = marked ? mark : 0u;
  gl_PointSize = size * (v_picture == 0u && size > 4.0 ? 0.8 : 1.0) * (v_mark == 3u ? 2.8 : v_mark == 2u ? 2.2 : 1.0);
  v_colour = vec4(tint, marked ? 0.95 : dim);
}`;

type Part = "place" | "rest" | "tint" | "mark";
const PARTS: Record<Part, [number, "FLOAT" | "UNSIGNED_BYTE", boolean]> = {
  place: [2, "FLOAT", false], rest: [2, "FLOAT", false], tint: [3, "UNSIGNED_BYTE", true], mark: [1, "UNSIGNED_BYTE", false],
};

/** Rows in the order in which they are drawn, pictures first, and how many of them are pictures. */
export function drawingOrder(modality: Uint8Array): { order: Uint32Array; pictures: number } {
  const order = new Uint32Array(modality.length);
  let at = 0;
  for (let row = 0; row < modality.length; row += 1) if (modality[row] === 0) order[at++] = row;
  const pictures = at;
  for (let row = 0; row < modality.length; row += 1) if (modality[row] !== 0) order[at++] = row;
  return { order, pictures };
}

export class Dots {
  private readonly buffers = new Map<Part, WebGLBuffer>();
  private readonly elements: WebGLBuffer;
  private readonly programs = new Map<string, WebGLProgram>();
  private readonly order: Uint32Array;
  private readonly pictures: number;
  private markedCount = 0;

  /** `places` are pairs, one a row; with float64 the map stays exact where one looks closely. */
  constructor(private readonly gl: WebGL2RenderingContext, places: Float32Array | Float64Array, modality: Uint8Array) {
    ({ order: this.order, pictures: this.pictures } = drawingOrder(modality));
    this.elements = gl.createBuffer();
    const [near, rest] = [new Float32Array(places.length), new Float32Array(places instanceof Float64Array ? places.length : 0)];
    for (let at = 0; at < this.order.length; at += 1) {
      const row = this.order[at]!;
      near[2 * at] = places[2 * row]!;
      near[2 * at + 1] = places[2 * row + 1]!;
      if (!rest.length) continue;
      rest[2 * at] = places[2 * row]! - near[2 * at]!;
      rest[2 * at + 1] = places[2 * row + 1]! - near[2 * at + 1]!;
    }
    this.put("place", near);
    if (rest.length) this.put("rest", rest);
    this.setColours(new Uint8Array(3 * modality.length).fill(140));
    this.setMarks(new Uint8Array(modality.length));
  }

  /** Three bytes a row. */
  setColours(colours: Uint8Array): void {
    const found = new Uint8Array(colours.length);
    for (let at = 0; at < this.order.length; at += 1) {
      const row = this.order[at]!;
      found[3 * at] = colours[3 * row]!;
      found[3 * at + 1] = colours[3 * row + 1]!;
      found[3 * at + 2] = colours[3 * row + 2]!;
    }
    this.put("tint", found);
  }

  /** A byte a row: 0, SELECTED, HIT or OPEN. */
  setMarks(marks: Uint8Array): void {
    const found = new Uint8Array(marks.length);
    const kinds: number[][] = [[], [], [], []];
    for (let at = 0; at < this.order.length; at += 1) {
      const mark = marks[this.order[at]!]!;
      found[at] = mark;
      if (mark) kinds[mark]!.push(at);
    }
    this.put("mark", found);
    const marked = Uint32Array.from(kinds.flat());
    this.markedCount = marked.length;
    this.gl.bindBuffer(this.gl.ELEMENT_ARRAY_BUFFER, this.elements);
    this.gl.bufferData(this.gl.ELEMENT_ARRAY_BUFFER, marked, this.gl.STATIC_DRAW);
    this.gl.bindBuffer(this.gl.ELEMENT_ARRAY_BUFFER, null);
  }

  private put(part: Part, data: Float32Array | Uint8Array): void {
    const buffer = this.buffers.get(part) ?? this.gl.createBuffer();
    this.buffers.set(part, buffer);
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, buffer);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, data, this.gl.STATIC_DRAW);
  }

  /** Draws all points, then those with marks again; `uniforms` sets what the expression of the position needs. */
  draw(name: string, before: string, position: string, size: number, dim: number, uniforms: (program: WebGLProgram) => void): void {
    const { gl } = this;
    const program = this.program(name, before, position);
    gl.useProgram(program);
    uniforms(program);
    const at = (uniform: string) => gl.getUniformLocation(program, uniform);
    gl.uniform1f(at("size"), size);
    gl.uniform1f(at("dim"), dim);
    gl.uniform1i(at("pictures"), this.pictures);
    gl.uniform1i(at("marked"), 0);
    const used: number[] = [];
    for (const [part, buffer] of this.buffers) {
      const where = gl.getAttribLocation(program, part);
      if (where < 0) continue;
      const [numbers, kind, normal] = PARTS[part];
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(where);
      if (part === "mark") gl.vertexAttribIPointer(where, numbers, gl[kind], 0, 0);
      else gl.vertexAttribPointer(where, numbers, gl[kind], normal, 0, 0);
      used.push(where);
    }
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArrays(gl.POINTS, 0, this.order.length);
    if (this.markedCount) {
      gl.uniform1i(at("marked"), 1);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.elements);
      gl.drawElements(gl.POINTS, this.markedCount, gl.UNSIGNED_INT, 0);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, null);
    }
    for (const where of used) gl.disableVertexAttribArray(where);
  }

  private program(name: string, before: string, position: string): WebGLProgram {
    const known = this.programs.get(name);
    if (known) return known;
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex(before, position)], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
      const shader = gl.createShader(kind);
      if (!shader) throw new Error("the browser gave no shader");
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(`points cannot be drawn: ${gl.getProgramInfoLog(program) ?? ""}`);
    this.programs.set(name, program);
    return program;
  }
}

/** Whether this browser has WebGL 2. */
export function hasWebGl(): boolean {
  try {
    return document.createElement("canvas").getContext("webgl2") !== null;
  } catch {
    return false;
  }
}
