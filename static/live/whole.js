/* The scores and the sound of a whole run, for what is shown of it after stop. Both stay in this tab's memory, and
   both are bounded: 1.9 MB of sound a minute. No page in here. */

import { MICROPHONE_RATE as RATE } from "../../client/emotion-stream.js";

/** @import { Answer } from "../listen/frames.js" */

const BIN_MS = 100; // a new answer of the embedded model comes as often
const MOST_BINS = 300_000; // eight hours of speech
export const HEARD_MIN = 60; // of sound: 115 MB
const HEAD_BYTES = 44;

export class Whole {
  /** @type {Map<number, Float32Array>} number of the bin → nine probabilities */
  #bins = new Map();
  /** @type {ArrayBuffer[]} */
  #sound = [];
  #samples = 0;

  /** The smoothed state was `row` after the frames [startMs, endMs).
   *  @param {number} startMs @param {number} endMs @param {number[]} row */
  addState(startMs, endMs, row) {
    const kept = Float32Array.from(row);
    const last = Math.ceil(endMs / BIN_MS);
    for (let number = Math.floor(startMs / BIN_MS); number < last; number++) {
      if (this.#bins.size < MOST_BINS) this.#bins.set(number, kept);
    }
  }

  /** @param {ArrayBuffer} pcm of 16 bit @param {number} samples */
  addSound(pcm, samples) {
    if (this.#samples >= HEARD_MIN * 60 * RATE) return;
    this.#sound.push(pcm);
    this.#samples += samples;
  }

  /** @returns {Answer} */
  get frames() {
    const numbers = [...this.#bins.keys()].sort((a, b) => a - b);
    return {
      frame_scores: numbers.map((number) => this.#bins.get(number) ?? []),
      frame_start_ms: numbers.map((number) => number * BIN_MS),
      step_ms: BIN_MS,
    };
  }

  /** The sound as a recording.
   *  @param {string} name */
  wav(name) {
    return new File([headOf(2 * this.#samples), ...this.#sound], name, { type: "audio/wav" });
  }
}

/** Of a WAV file: mono, 16 bit.
 *  @param {number} bytes of samples */
function headOf(bytes) {
  const head = new DataView(new ArrayBuffer(HEAD_BYTES));
  const mark = (/** @type {number} */ at, /** @type {string} */ text) =>
    [...text].forEach((letter, i) => head.setUint8(at + i, letter.charCodeAt(0)));
  mark(0, "RIFF");
  head.setUint32(4, HEAD_BYTES - 8 + bytes, true);
  mark(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, RATE, true);
  head.setUint32(28, 2 * RATE, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  mark(36, "data");
  head.setUint32(40, bytes, true);
  return head.buffer;
}
