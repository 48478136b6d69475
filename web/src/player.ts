// A recording heard and seen: waveform from the server's peaks, its spectrogram below on the same axis, media by ranges.

import WaveSurfer from "wavesurfer.js";
import { getJson, type Item, type Peaks, type Tick } from "./api";
import { fill, h } from "./dom";
import { clock } from "./text";
import { WAVE_STYLE } from "./wave-style";

const SMALLEST_STEP_S = 0.5;
const LARGEST_STEP_S = 5;
const SAME_S = 0.05;
const CLOSEST_TICKS = 0.1; // as a share of the axis: a line of small letters

export class Player {
  readonly element = h("div", { class: "player", hidden: true });
  /** Which row is open. */
  row: number | null = null;
  private wave: WaveSurfer | null = null;
  private media: HTMLAudioElement | null = null;
  private seconds = 0;
  /** The part of the recording that was found, in seconds. */
  private part: [number, number] | null = null;
  private loops = false;
  private loading: AbortController | null = null;
  private readonly listeners = new Set<() => void>();
  private readonly toggle_ = h("button", { type: "button", class: "play", onclick: () => this.toggle() }, "Play");
  private readonly time = h("output", { class: "time" });
  private readonly position = h("input", { type: "range", min: 0, max: 1, step: "any", value: 0, "aria-label": "Position in the recording" });
  private readonly heads: HTMLElement[] = [];

  constructor() {
    this.position.addEventListener("input", () => this.seek(Number(this.position.value)));
  }

  /** Calls back when playing begins or ends. */
  onchange(fn: () => void): void {
    this.listeners.add(fn);
  }

  get playing(): boolean {
    return this.media !== null && !this.media.paused && !this.media.ended;
  }

  /** Opens a recording at the part that was found; plays it where told so. */
  async open(item: Item, play: boolean): Promise<void> {
    if (item.sound === null) {
      this.close();
      return;
    }
    if (this.row !== item.row || this.media === null) await this.load(item, play);
    else if (play) await this.play();
  }

  private async load(item: Item, play: boolean): Promise<void> {
    this.close();
    const { url, peaks, spectrogram } = item.sound!;
    const control = new AbortController();
    [this.loading, this.row] = [control, item.row];
    const media = h("audio", { preload: play ? "auto" : "metadata", src: url });
    media.addEventListener("error", () => this.fail("The browser cannot play this recording; download it, or convert it to WAV."));
    for (const name of ["play", "pause", "ended"]) media.addEventListener(name, () => this.changed());
    media.addEventListener("timeupdate", () => this.moved());
    this.media = media;
    this.element.hidden = false;
    fill(this.element, h("p", {}, "Loading the waveform…"), media);
    if (play) void this.start(item.start_s ?? 0);
    try {
      const told = await getJson<Peaks>(`${peaks}?points=2000`, control.signal);
      if (this.media !== media) return;
      this.draw(item, told, spectrogram, media);
      if (!play && this.part) this.seek(this.part[0]);
    } catch (error) {
      if (!control.signal.aborted) this.fail(error instanceof Error ? error.message : String(error));
    }
  }

  private draw(item: Item, told: Peaks, spectrogram: string, media: HTMLAudioElement): void {
    this.seconds = told.seconds;
    this.part = partOf(item, told.seconds);
    this.position.max = String(told.seconds);
    this.heads.length = 0;
    const waveform = h("div", { class: "waveform" });
    const picture = h("img", { class: "spectrogram", src: spectrogram, alt: `Spectrogram of ${item.id.slice(0, 80)}, time to the right, frequency upwards` });
    picture.addEventListener("click", (event) => this.seek((event.offsetX / picture.clientWidth) * this.seconds));
    const loop = h("input", { type: "checkbox" });
    loop.checked = this.loops;
    loop.addEventListener("change", () => (this.loops = loop.checked));
    fill(
      this.element,
      h("div", { class: "controls" }, this.toggle_, this.time, this.part ? h("label", {}, loop, " Loop the part found") : null,
        h("a", { href: item.sound!.url, download: "" }, "Download")),
      this.position,
      this.framed(waveform),
      h("div", { class: "with-axis" }, this.framed(picture), axis(told)),
      h("p", { class: "fine" }, "Waveform scaled to its loudest sample; spectrogram in mel steps, colours over 90 dB."),
      ...(told.notes ?? []).map((note) => h("p", { class: "note" }, note)),
      media,
    );
    this.wave = WaveSurfer.create({
      container: waveform, media, peaks: told.peaks, duration: told.seconds, height: 56, normalize: true, hideScrollbar: true, autoScroll: false,
      ...colours(this.element), cursorWidth: 0,
    });
    const root = this.wave.getWrapper().getRootNode();
    if (root instanceof ShadowRoot) {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(WAVE_STYLE);
      root.adoptedStyleSheets = [sheet];
    }
    this.wave.on("timeupdate", () => this.moved());
    this.changed();
    this.moved();
  }

  /** A picture over time with the found part and the position drawn over it. */
  private framed(inner: HTMLElement): HTMLElement {
    const head = h("div", { class: "head" });
    this.heads.push(head);
    const frame = h("div", { class: "frame" }, inner, head);
    if (this.part) {
      const shade = h("div", { class: "part" });
      shade.style.left = `${(100 * this.part[0]) / this.seconds}%`;
      shade.style.width = `${(100 * (this.part[1] - this.part[0])) / this.seconds}%`;
      frame.append(shade);
    }
    return frame;
  }

  private async start(at: number): Promise<void> {
    if (!this.media) return;
    if (at > 0) this.media.currentTime = at;
    await this.play();
  }

  async play(): Promise<void> {
    const media = this.media;
    if (!media) return;
    const ended = this.part && this.loops && media.currentTime >= this.part[1] - SAME_S;
    if (ended && this.part) media.currentTime = this.part[0];
    await media.play().catch((error: unknown) => {
      if (this.media === media && !(error instanceof DOMException && error.name === "AbortError")) this.fail("The browser did not start the sound; press Play again.");
    });
  }

  pause(): void {
    this.media?.pause();
  }

  toggle(): void {
    if (this.playing) this.pause();
    else void this.play();
  }

  /** Goes to a second of the recording. */
  seek(seconds: number): void {
    if (!this.media) return;
    this.media.currentTime = Math.max(0, Math.min(seconds, this.seconds || seconds));
    this.moved();
  }

  /** Goes a twentieth of the recording on, or back; half a second at least, five at most. */
  step(by: 1 | -1): void {
    if (!this.media) return;
    const step = Math.min(LARGEST_STEP_S, Math.max(SMALLEST_STEP_S, this.seconds / 20));
    this.seek(this.media.currentTime + by * step);
  }

  close(): void {
    this.loading?.abort();
    this.wave?.destroy();
    if (this.media) {
      this.media.pause();
      this.media.removeAttribute("src");
      this.media.load();
    }
    [this.wave, this.media, this.row, this.part, this.seconds] = [null, null, null, null, 0];
    this.element.replaceChildren();
    this.element.hidden = true;
    this.changed();
  }

  private fail(sentence: string): void {
    if (this.media?.getAttribute("src") === null) return; // it was closed
    if (!this.element.querySelector("[role=alert]")) this.element.prepend(h("p", { role: "alert", class: "wrong" }, sentence));
  }

  private changed(): void {
    this.toggle_.textContent = this.playing ? "Pause" : "Play";
    for (const fn of this.listeners) fn();
  }

  private moved(): void {
    const media = this.media;
    if (!media) return;
    if (this.part && this.loops && this.playing && media.currentTime >= this.part[1]) media.currentTime = this.part[0];
    const now = media.currentTime;
    for (const head of this.heads) head.style.left = `${Math.min(100, (100 * now) / (this.seconds || 1))}%`;
    this.time.textContent = `${clock(now)} / ${clock(this.seconds)}`;
    if (document.activeElement !== this.position || this.playing) this.position.value = String(now);
    this.position.setAttribute("aria-valuetext", `${clock(now)} of ${clock(this.seconds)}`);
  }
}

/** The part of a recording that a row is; null where it is all of it. */
function partOf(item: Item, seconds: number): [number, number] | null {
  if (item.start_s === null || item.seconds === null || !seconds) return null;
  const end = Math.min(seconds, item.start_s + item.seconds);
  return end - item.start_s >= seconds - SAME_S || end <= item.start_s ? null : [item.start_s, end];
}

function axis(told: Peaks): HTMLElement {
  const apart: Tick[] = [];
  for (const tick of [...(told.ticks ?? [])].sort((one, other) => one.at - other.at)) {
    if (!apart.length || tick.at - apart.at(-1)!.at >= CLOSEST_TICKS) apart.push(tick);
  }
  const marks = apart.map(({ hz, at }) => {
    const mark = h("span", {}, hz >= 1000 ? `${+(hz / 1000).toFixed(1)} kHz` : `${Math.round(hz)} Hz`);
    mark.style.bottom = `${100 * at}%`;
    return mark;
  });
  return h("div", { class: "axis", "aria-hidden": "true" }, ...marks);
}

function colours(element: HTMLElement): { waveColor: string; progressColor: string } {
  const style = getComputedStyle(element);
  return {
    waveColor: style.getPropertyValue("--wave").trim() || "#6b8fa8", progressColor: style.getPropertyValue("--wave-played").trim() || "#1d5c85",
  };
}
