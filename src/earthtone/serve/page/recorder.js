// Hands the microphone's samples to the page (web/src/record.ts).
class Recorder extends AudioWorkletProcessor {
  process([channels]) {
    if (channels?.[0]) this.port.postMessage(channels[0].slice());
    return true;
  }
}

registerProcessor("recorder", Recorder);
