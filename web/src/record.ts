// The microphone as a WAV file. An AudioWorklet hands over samples; its code is a file of the page (public/), as the security policy wants.

const MOST_SECONDS = 120;
const BITS = 16;

export interface Recording {
  /** Ends it; the WAV file. */
  stop: () => Promise<File>;
  /** Ends it without a file. */
  cancel: () => Promise<void>;
}

/** Asks for the microphone and records until stopped, two minutes at most. Throws an Error with a sentence. */
export async function record(heard: (seconds: number, level: number) => void, full: () => void): Promise<Recording> {
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
    throw new Error("this browser gives no microphone here; it does so at https addresses and on localhost. Choose a sound file instead");
  }
  const constraints = { audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } };
  const stream = await navigator.mediaDevices.getUserMedia(constraints).catch((error: unknown) => {
    throw new Error(refusal(error));
  });
  const context = new AudioContext();
  const end = async () => {
    for (const track of stream.getTracks()) track.stop();
    if (context.state !== "closed") await context.close();
  };
  try {
    await context.audioWorklet.addModule(new URL("recorder.js", document.baseURI));
  } catch (error) {
    await end();
    throw new Error(`the recorder did not start (${String(error)}); choose a sound file instead`);
  }
  const parts: Float32Array[] = [];
  let count = 0;
  const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  node.port.onmessage = ({ data }: MessageEvent<Float32Array>) => {
    if (count >= MOST_SECONDS * context.sampleRate) return;
    parts.push(data);
    count += data.length;
    let most = 0;
    for (const sample of data) most = Math.max(most, Math.abs(sample));
    heard(count / context.sampleRate, most);
    if (count >= MOST_SECONDS * context.sampleRate) full();
  };
  context.createMediaStreamSource(stream).connect(node);
  await context.resume();
  return {
    stop: async () => {
      const hz = context.sampleRate;
      await end();
      if (!count) throw new Error("nothing was recorded; record a second at least");
      return new File([wav(parts, hz)], "recording.wav", { type: "audio/wav" });
    },
    cancel: end,
  };
}

function refusal(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") return "the microphone was not allowed; allow it in the browser's address bar, or choose a sound file";
  if (name === "NotFoundError") return "no microphone was found; plug one in, or choose a sound file";
  return `the microphone cannot be used (${name || String(error)}); choose a sound file`;
}

/** Samples of one channel as a WAV file of 16 bits. */
export function wav(parts: Float32Array[], hz: number): ArrayBuffer {
  const count = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = (count * BITS) / 8;
  const view = new DataView(new ArrayBuffer(44 + bytes));
  const text = (at: number, letters: string) => [...letters].forEach((letter, place) => view.setUint8(at + place, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, hz, true);
  view.setUint32(28, (hz * BITS) / 8, true);
  view.setUint16(32, BITS / 8, true);
  view.setUint16(34, BITS, true);
  text(36, "data");
  view.setUint32(40, bytes, true);
  let at = 44;
  for (const part of parts) {
    for (const sample of part) {
      view.setInt16(at, Math.round(Math.max(-1, Math.min(1, sample)) * 32767), true);
      at += 2;
    }
  }
  return view.buffer as ArrayBuffer;
}
