/* Runs on the browser's audio thread: mono float samples at the context's rate in, 100 ms chunks of 16 kHz
   PCM16 out, each with its level. Loaded by microphone.js; the message "flush" asks for what is left. */

import { toPcm16 } from "./audio.js";
import { Resampler } from "./resample.js";

class Capture extends AudioWorkletProcessor {
  #resampler;
  #chunk;
  #filled = 0;
  #energy = 0;
  #flushed = false;

  /** @param {{processorOptions: {rate: number, chunkSamples: number}}} options */
  constructor({ processorOptions: { rate, chunkSamples } }) {
    super();
    this.#resampler = new Resampler(sampleRate, rate);
    this.#chunk = new Float32Array(chunkSamples);
    this.port.onmessage = () => {
      this.#post();
      this.#flushed = true;
      this.port.postMessage({ done: true });
    };
  }

  /** @param {Float32Array[][]} inputs */
  process([channels]) {
    if (this.#flushed) return false;
    if (channels.length === 0) return true; // the source is not connected yet
    for (const value of this.#resampler.push(channels[0])) {
      this.#chunk[this.#filled++] = value;
      this.#energy += value * value;
      if (this.#filled === this.#chunk.length) this.#post();
    }
    return true;
  }

  #post() {
    if (this.#filled === 0) return;
    const pcm = toPcm16(this.#chunk.subarray(0, this.#filled)).buffer;
    const level = Math.min(1, Math.sqrt(this.#energy / this.#filled));
    this.port.postMessage({ pcm, samples: this.#filled, level }, [pcm]);
    this.#filled = 0;
    this.#energy = 0;
  }
}

registerProcessor("capture", Capture);
