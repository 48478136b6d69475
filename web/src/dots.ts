// Points drawn by the graphics processor straight from arrays: the same way on the map and on the plane.

export const PLAIN = 0;
export const SELECTED = 1;
export const HIT = 2;
export const OPEN = 3;

const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 v_colour;
flat in uint v_mark;
out vec4 colour;
void main() {
  float away = length(gl_PointCoord - 0.5) * 2.0;
  if (away > 1.0) discard;
  bool ring = v_mark >= 2u && away > 0.6;
  vec3 plain = ring ? (v_mark == 3u ? vec3(0.82, 0.1, 0.1) : vec3(0.05)) : v_colour.rgb;
  colour = vec4(plain * v_colour.a, v_colour.a);
}`;

/** The vertex shader around an expression of where a pair lies, "place". */
const vertex = (before: string, position: string) => `#version 300 es
${before}
in vec2 place;
in vec3 tint;
in uint mark;
uniform float size;
uniform float dim;
out vec4 v_colour;
flat out uint v_mark;
void main() {
  gl_Position = ${position};
  gl_PointSize = size * (mark == 3u ? 2.6 : mark == 2u ? 2.0 : 1.0);
  v_colour = vec4(tint, mark == 0u ? dim : 0.95);
  v_mark = mark;
}`;

export class Dots {
  private readonly buffers: [WebGLBuffer, WebGLBuffer, WebGLBuffer];
  private readonly programs = new Map<string, WebGLProgram>();

  constructor(private readonly gl: WebGL2RenderingContext, places: Float32Array, private readonly count: number) {
    this.buffers = [gl.createBuffer(), gl.createBuffer(), gl.createBuffer()];
    this.put(0, places);
  }

  setColours(colours: Uint8Array): void {
    this.put(1, colours);
  }

  setMarks(marks: Uint8Array): void {
    this.put(2, marks);
  }

  private put(number: 0 | 1 | 2, data: Float32Array | Uint8Array): void {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers[number]);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, data, this.gl.STATIC_DRAW);
  }

  /** Draws all points; `uniforms` sets what the expression of the position needs. */
  draw(name: string, before: string, position: string, size: number, dim: number, uniforms: (program: WebGLProgram) => void): void {
    const { gl } = this;
    const program = this.program(name, before, position);
    gl.useProgram(program);
    uniforms(program);
    gl.uniform1f(gl.getUniformLocation(program, "size"), size);
    gl.uniform1f(gl.getUniformLocation(program, "dim"), dim);
    const kinds: [string, number, number, boolean][] = [["place", 2, gl.FLOAT, false], ["tint", 3, gl.UNSIGNED_BYTE, true], ["mark", 1, gl.UNSIGNED_BYTE, false]];
    const used: number[] = [];
    for (const [at, [attribute, parts, kind, normal]] of kinds.entries()) {
      const where = gl.getAttribLocation(program, attribute);
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[at]!);
      gl.enableVertexAttribArray(where);
      if (attribute === "mark") gl.vertexAttribIPointer(where, parts, kind, 0, 0);
      else gl.vertexAttribPointer(where, parts, kind, normal, 0, 0);
      used.push(where);
    }
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArrays(gl.POINTS, 0, this.count);
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
