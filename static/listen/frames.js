/* The scores of every frame of a recording, kept as running sums: the mean over any stretch is one subtraction,
   so a chart of hours is drawn as fast as one of seconds. 72 bytes a frame, 26 MB an hour of speech. No page. */

import { LABELS } from "../shared/emotions.js";

/** An answer at granularity frame.
 *  @typedef {{frame_scores?: ArrayLike<number>[], frame_start_ms?: number[], step_ms?: number}} Answer */

export class Frames {
  #step;
  #starts;
  #sums;

  /** Without `frame_start_ms` frames follow one another from 0.
   *  @param {Answer} answer */
  constructor({ frame_scores: rows = [], frame_start_ms: starts, step_ms: step = 10 }) {
    this.#step = step / 1000;
    this.count = rows.length;
    this.#starts = Float64Array.from(rows, (_, i) => (starts ? starts[i] : i * step) / 1000);
    this.#sums = LABELS.map((_, label) => {
      const sums = new Float64Array(rows.length + 1);
      for (let i = 0; i < rows.length; i++) sums[i + 1] = sums[i] + rows[i][label];
      return sums;
    });
  }

  /** The first frame that starts at `seconds` or later.
   *  @param {number} seconds */
  #from(seconds) {
    let [low, high] = [0, this.count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle] < seconds - 1e-6) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The nine scores at `seconds`, or undefined where nothing was scored.
   *  @param {number} seconds */
  at(seconds) {
    const i = this.#from(seconds - this.#step + 1e-5);
    if (i >= this.count || this.#starts[i] > seconds + 1e-6) return undefined;
    return this.#sums.map((sums) => sums[i + 1] - sums[i]);
  }

  /** How long the stretch is that one of `columns` points stands for: a whole number of frames.
   *  @param {number} from @param {number} to @param {number} columns */
  bin(from, to, columns) {
    return this.#step * Math.max(1, Math.ceil((to - from) / columns / this.#step - 1e-9));
  }

  /** [times, nine columns]: the mean of each bin that lies in [from, to]; null where nothing was scored.
   *  @param {number} from @param {number} to @param {number} columns
   *  @returns {[number[], ...(number | null)[][]]} */
  lines(from, to, columns) {
    const bin = this.bin(from, to, columns);
    const first = Math.floor(from / bin) - 1; // bins lie on a grid of their own: nothing flickers when one pans
    const last = Math.ceil(to / bin) + 1;
    const times = [];
    /** @type {(number | null)[][]} */
    const lines = LABELS.map(() => []);
    let begin = this.#from(first * bin);
    for (let number = first; number < last; number++) {
      const end = this.#from((number + 1) * bin);
      times.push((number + 0.5) * bin);
      for (let label = 0; label < lines.length; label++) {
        const sums = this.#sums[label];
        lines[label].push(end > begin ? (sums[end] - sums[begin]) / (end - begin) : null);
      }
      begin = end;
    }
    return [times, ...lines];
  }
}
