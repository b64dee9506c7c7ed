/* The outline of a recording for the waveform: the lowest and highest sample of every 2.5 ms. A short recording is
   decoded here, before it is even sent; of a long one, and of what this browser cannot decode, the server's
   processed_audio.wav is read as it streams in, so that memory stays small however long it is. No page in here. */

const RATE = 16_000;
const BLOCK = 40; // samples in one peak
const COARSE = 64; // peaks in one of the coarse level, for hours on one screen
const MOST_GAIN = 8; // a quiet recording is drawn larger; the hiss of a silent one is not
const DECODED_S = 20 * 60; // as samples in memory that is 77 MB for each channel
const DECODED_BYTES = 300e6;

/** @typedef {{low: Int16Array, high: Int16Array}} Level the lowest and highest samples of blocks */

export class Peaks {
  gain = 1; // what it is drawn with
  #count = 0; // whole peaks
  /** @type {Level} */
  #fine = { low: new Int16Array(4096), high: new Int16Array(4096) };
  /** @type {Level | null} */
  #coarse = null;
  #least = 32767; // of the block that is being filled
  #most = -32768;
  #filled = 0;

  /** One sample, -32768 … 32767.
   *  @param {number} sample */
  push(sample) {
    if (sample < this.#least) this.#least = sample;
    if (sample > this.#most) this.#most = sample;
    if (++this.#filled === BLOCK) this.#close();
  }

  #close() {
    if (!this.#filled) return;
    const { low, high } = this.#fine;
    if (this.#count === low.length) this.#fine = { low: grown(low), high: grown(high) };
    this.#fine.low[this.#count] = this.#least;
    this.#fine.high[this.#count++] = this.#most;
    [this.#least, this.#most, this.#filled] = [32767, -32768, 0];
  }

  /** After the last sample. */
  end() {
    this.#close();
    const length = Math.ceil(this.#count / COARSE);
    const coarse = { low: new Int16Array(length), high: new Int16Array(length) };
    for (let i = 0; i < length; i++) {
      const last = Math.min(this.#count, (i + 1) * COARSE);
      [coarse.low[i], coarse.high[i]] = extremes(this.#fine, i * COARSE, last);
    }
    this.#coarse = coarse;
    const [low, high] = extremes(coarse, 0, length);
    this.gain = Math.min(MOST_GAIN, (0.98 * 32768) / Math.max(1, -low, high));
    return this;
  }

  /** [lowest, highest] of [from, to) in seconds, each -1 … 1; undefined beyond the end.
   *  @param {number} from @param {number} to */
  between(from, to) {
    const first = Math.max(0, Math.floor((from * RATE) / BLOCK));
    const last = Math.min(this.#count, Math.max(first + 1, Math.ceil((to * RATE) / BLOCK)));
    if (first >= last) return undefined;
    const [low, high] =
      this.#coarse && last - first > 4 * COARSE
        ? extremes(this.#coarse, Math.floor(first / COARSE), Math.ceil(last / COARSE))
        : extremes(this.#fine, first, last);
    return [low / 32768, high / 32768];
  }
}

/** Of the blocks [first, last).
 *  @param {Level} level @param {number} first @param {number} last */
function extremes({ low, high }, first, last) {
  let [least, most] = [32767, -32768];
  for (let i = first; i < last; i++) {
    if (low[i] < least) least = low[i];
    if (high[i] > most) most = high[i];
  }
  return [least, most];
}

/** @param {Int16Array} array */
function grown(array) {
  const more = new Int16Array(2 * array.length);
  more.set(array);
  return more;
}

/** From the file that was chosen, `seconds` long; null if that is too long, or it is not to be decoded here.
 *  @param {File} file @param {number} seconds */
export async function decodedPeaks(file, seconds) {
  if (!(seconds <= DECODED_S) || file.size > DECODED_BYTES) return null;
  try {
    const audio = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
    const channels = Array.from({ length: audio.numberOfChannels }, (_, i) => audio.getChannelData(i));
    const peaks = new Peaks();
    for (let i = 0; i < audio.length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      peaks.push(Math.max(-32768, Math.min(32767, (32767 * sum) / channels.length)));
    }
    return peaks.end();
  } catch {
    return null; // the server's copy serves as well
  }
}

/** From processed_audio.wav (16 kHz, mono, PCM16) as it arrives.
 *  @param {Response} response */
export async function streamedPeaks(response) {
  const peaks = new Peaks();
  const reader = response.body?.getReader();
  if (!reader) return peaks.end();
  /** @type {Uint8Array} */
  let head = new Uint8Array(0); // until the samples begin
  /** @type {number | undefined} */
  let odd; // the first half of a sample that was cut in two
  let inside = false;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return peaks.end();
    /** @type {Uint8Array} */
    let bytes = value;
    if (!inside) {
      head = joined(head, bytes);
      const at = samplesAt(head);
      if (at < 0) continue;
      inside = true;
      bytes = head.subarray(at);
    }
    if (odd !== undefined) bytes = joined(Uint8Array.of(odd), bytes);
    odd = bytes.length % 2 ? bytes.at(-1) : undefined;
    for (let i = 1; i < bytes.length; i += 2) peaks.push(((bytes[i - 1] | (bytes[i] << 8)) << 16) >> 16);
  }
}

/** Where the samples of a RIFF file begin, or -1 while too little of it is there.
 *  @param {Uint8Array} bytes */
function samplesAt(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 12; at + 8 <= bytes.length; at += 8 + view.getUint32(at + 4, true)) {
    if (view.getUint32(at) === 0x64617461) return at + 8; // "data"
  }
  return -1;
}

/** @param {Uint8Array} a @param {Uint8Array} b */
function joined(a, b) {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
