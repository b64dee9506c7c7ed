/* Audio at the microphone's rate → 16 kHz, piece by piece, with nothing lost or repeated at the joins.
   A windowed-sinc low-pass and the change of rate in one step, as a table of filters (one for each position
   that an output sample can have between two input samples). Pure arrays: runs in the worklet and in tests. */

const HALF_WIDTH = 32; // zero crossings each side: a transition of about 1.2 kHz
const CUTOFF = 0.46; // of the output rate: 7.36 kHz, so that the stop band begins just under 8 kHz
const KAISER_BETA = 8; // about 80 dB down in the stop band: below the noise of 16-bit audio from a microphone

export class Resampler {
  #phases;
  #step;
  #unchanged;
  #half;
  #filters;
  #kept;
  #position;

  /** `from` and `to` are whole numbers of samples a second.
   *  @param {number} from @param {number} to */
  constructor(from, to) {
    const common = gcd(from, to);
    this.#phases = to / common; // 44.1 → 16 kHz: 160; 48 → 16 kHz: 1
    this.#step = from / common; // how far an output moves, in 1/phases of an input sample
    this.#unchanged = from === to;
    const low = Math.min(from, to);
    this.#half = Math.ceil((HALF_WIDTH * from) / low);
    this.#filters = designFilters(this.#phases, this.#half, (CUTOFF * low) / from);
    this.#kept = new Float32Array(this.#half); // as if silence came before the first sample
    this.#position = this.#half * this.#phases; // of the next output, in 1/phases of a sample, within `#kept`
  }

  /** The output that `input` makes possible; the rest waits for the next call.
   *  @param {Float32Array} input */
  push(input) {
    if (this.#unchanged) return Float32Array.from(input);
    const samples = new Float32Array(this.#kept.length + input.length);
    samples.set(this.#kept);
    samples.set(input, this.#kept.length);
    const out = [];
    for (;;) {
      const center = Math.floor(this.#position / this.#phases);
      if (center + this.#half >= samples.length) break;
      out.push(dot(this.#filters[this.#position % this.#phases], samples, center - this.#half + 1));
      this.#position += this.#step;
    }
    const spent = Math.min(Math.floor(this.#position / this.#phases) - this.#half + 1, samples.length);
    this.#kept = samples.slice(spent);
    this.#position -= spent * this.#phases;
    return Float32Array.from(out);
  }
}

/** @param {Float32Array} filter @param {Float32Array} samples @param {number} first */
function dot(filter, samples, first) {
  let sum = 0;
  for (let k = 0; k < filter.length; k++) sum += filter[k] * samples[first + k];
  return sum;
}

/** @param {number} phases @param {number} half @param {number} cutoff */
function designFilters(phases, half, cutoff) {
  const filters = [];
  for (let phase = 0; phase < phases; phase++) {
    const filter = new Float32Array(2 * half);
    let gain = 0;
    for (let k = 0; k < filter.length; k++) {
      const t = k - half + 1 - phase / phases; // from the output's place, in input samples
      filter[k] = 2 * cutoff * sinc(2 * cutoff * t) * kaiser(t / half);
      gain += filter[k];
    }
    // Each phase sums to 1: else a constant input would come out with a ripple.
    filters.push(filter.map((tap) => tap / gain));
  }
  return filters;
}

/** @param {number} x */
function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** @param {number} x */
function kaiser(x) {
  return Math.abs(x) > 1 ? 0 : bessel0(KAISER_BETA * Math.sqrt(1 - x * x)) / bessel0(KAISER_BETA);
}

/** @param {number} x */
function bessel0(x) {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > sum * 1e-12; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/** @param {number} a @param {number} b @returns {number} */
function gcd(a, b) {
  return b ? gcd(b, a % b) : a;
}
