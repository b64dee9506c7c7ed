/* Samples → the bytes that a session takes. Pure functions: run in pages, in workers and on the audio thread. */

/** @import { Audio } from "./emotion-stream.js" */
/** @typedef {{encoding: string, channels: number}} Format */

/** @type {Record<string, number>} */
const WIDTH = { pcm_s16le: 2, pcm_f32le: 4, mulaw: 1, alaw: 1, wav: 2 }; // bytes of a sample

/** Whether two pieces in a row are the same as one: not where each may begin with a header.
 *  @param {string} encoding */
export const isRaw = (encoding) => encoding in WIDTH && encoding !== "wav";

/** Bytes of one moment (a sample of each channel). Of WAV and containers: a guess, good enough for a bound.
 *  @param {Format} format */
export function bytesPerMoment({ encoding, channels }) {
  return (WIDTH[encoding] ?? 2) * channels;
}

/** The bytes of `audio` for a session of this encoding. `audio`: Int16Array, Float32Array (-1 … 1), a list of two
 *  such (the channels of a call), or bytes that are encoded already (ArrayBuffer, Uint8Array).
 *  @param {Audio} audio
 *  @param {Format} format
 *  @returns {Uint8Array} */
export function toBytes(audio, { encoding, channels }) {
  if (Array.isArray(audio)) {
    if (audio.length !== channels)
      throw new TypeError(`${audio.length} channels given, ${channels} announced`);
    return toBytes(interleave(audio), { encoding, channels });
  }
  if (audio instanceof ArrayBuffer) return new Uint8Array(audio);
  if (audio instanceof Uint8Array) return audio.slice(); // a copy: who gave it may use it again
  if (encoding === "pcm_s16le" && audio instanceof Int16Array) return bytesOf(audio.slice());
  if (encoding === "pcm_s16le" && audio instanceof Float32Array) return bytesOf(toPcm16(audio));
  if (encoding === "pcm_f32le" && audio instanceof Float32Array) return bytesOf(audio.slice());
  throw new TypeError(`${audio?.constructor?.name ?? audio} is no audio for a session of ${encoding}`);
}

/** @param {Float32Array} samples -1 … 1 */
export function toPcm16(samples) {
  return Int16Array.from(samples, (value) => Math.max(-32768, Math.min(32767, Math.round(value * 32768))));
}

/** @param {Float32Array[] | Int16Array[]} channels one, or two of one length */
function interleave([left, right]) {
  if (right === undefined) return left;
  if (left.length !== right.length) throw new TypeError("the channels must be of one length");
  const mixed =
    left instanceof Int16Array ? new Int16Array(2 * left.length) : new Float32Array(2 * left.length);
  for (let i = 0; i < left.length; i++) {
    mixed[2 * i] = left[i];
    mixed[2 * i + 1] = right[i];
  }
  return mixed;
}

/** @param {Int16Array | Float32Array} array */
function bytesOf(array) {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** @param {Uint8Array[]} pieces */
export function join(pieces) {
  const whole = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
