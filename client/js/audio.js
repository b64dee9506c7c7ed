/* Samples → the bytes that a session takes. Pure functions: run in pages, in workers and on the audio thread. */

const WIDTH = { pcm_s16le: 2, pcm_f32le: 4, mulaw: 1, alaw: 1, wav: 2 }; // bytes of a sample

/** Bytes of one moment (a sample of each channel). Of WAV: a guess, which is good enough for a bound. */
export function bytesPerMoment({ encoding, channels }) {
  return (WIDTH[encoding] ?? 2) * channels;
}

/** The bytes of `audio` for a session of this encoding. `audio`: Int16Array, Float32Array (-1 … 1), a list of two
 *  such (the channels of a call), or bytes that are encoded already (ArrayBuffer, Uint8Array). */
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

export function toPcm16(samples) {
  return Int16Array.from(samples, (value) => Math.max(-32768, Math.min(32767, Math.round(value * 32768))));
}

function interleave([left, right]) {
  if (right === undefined) return left;
  if (left.length !== right.length) throw new TypeError("the channels must be of one length");
  const mixed = new left.constructor(2 * left.length);
  for (let i = 0; i < left.length; i++) {
    mixed[2 * i] = left[i];
    mixed[2 * i + 1] = right[i];
  }
  return mixed;
}

function bytesOf(array) {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

export function join(pieces) {
  const whole = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
